"""The body of ``format: template``: whatever shape its receiver wants.

Where a template fails, the headline stands in its place: what a receiver with a shape of its own
takes most likely is that shape, with a sentence where a text belongs.
"""

from collections.abc import Callable

import msgspec

from relay.config import HttpDestination
from relay.config.templates.template import MAX_STEPS, Budget, Template, TemplateError, is_template
from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.core.text import ELLIPSIS
from relay.destinations.common.custom_text import OnTemplateError
from relay.destinations.common.template_context import build_context

BODY_MAX = 262_144
"""The characters that all templates of a body may make or write."""
BODY_STEPS = 5 * MAX_STEPS
"""Likewise their steps."""
HEADLINES_MAX = 20
"""So many headlines at most stand for what failed; then a mark does."""
PLAIN_TEXT = "text/plain; charset=utf-8"

_Tree = dict[str, "_Tree"] | list["_Tree"] | Template | str | int | float | bool | None
_Write = Callable[[Template, str], str]


def build_renderer(
    to: HttpDestination, on_template_error: OnTemplateError
) -> Callable[[Notification], Request]:
    """What renders the body, compiled once; ``failed`` is told of every template that fails."""
    url = to.endpoint
    if to.body_text is not None:
        text, kind = Template(to.body_text), to.content_type or PLAIN_TEXT

        def as_text(notification: Notification) -> Request:
            writing = _BodyWriter(notification)
            body = writing.write(text, "body_text").encode(errors="replace")
            writing.report_failure(on_template_error)
            return Request(body, url, {"Content-Type": kind})

        return as_text
    tree = _compile(to.body)

    def as_json(notification: Notification) -> Request:
        writing = _BodyWriter(notification)
        body = msgspec.json.encode(_fill(tree, "body", writing.write))
        writing.report_failure(on_template_error)
        return Request(body, url, {"Content-Type": "application/json"})

    return as_json


def _compile(value: object) -> _Tree:
    match value:
        case dict():
            # half a character, which YAML can spell, is in no JSON
            names = {key: str(key).encode(errors="replace").decode() for key in value}
            return {names[key]: _compile(inner) for key, inner in value.items()}
        case list():
            return [_compile(inner) for inner in value]
        case str() if is_template(value):
            return Template(value)
        case str():  # a key or a channel: no length of another text puts the headline there
            return Template(value).render({})
        case bool() | int() | float() | None:
            return value
    raise TypeError(f"{type(value)} is not of YAML")


def _fill(tree: _Tree, path: str, write: _Write) -> object:
    match tree:
        case dict():
            return {key: _fill(inner, f"{path}.{key}", write) for key, inner in tree.items()}
        case list():
            return [_fill(inner, f"{path}[{at}]", write) for at, inner in enumerate(tree)]
        case Template():
            return write(tree, path)
        case _:
            return tree


class _BodyWriter:
    """The texts of one body, which share a measure of steps and characters."""

    def __init__(self, notification: Notification) -> None:
        self._known = build_context(notification)
        self._budget = Budget(BODY_STEPS, BODY_MAX)
        self._headlines = HEADLINES_MAX
        self._failures: list[tuple[str, str]] = []

    def write(self, template: Template, path: str) -> str:
        try:
            return template.render(self._known, self._budget)
        except TemplateError as error:
            self._failures.append((path, str(error)))
        self._headlines -= 1
        return str(self._known["headline"]) if self._headlines >= 0 else ELLIPSIS

    def report_failure(self, on_template_error: OnTemplateError) -> None:
        """Of the first that failed: what comes behind it often fails by it."""
        for path, words in self._failures[:1]:
            on_template_error(path, words)
