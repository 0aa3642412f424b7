"""The body of ``format: template``: whatever shape its receiver wants.

Where a template fails, the headline stands in its place: what a receiver with a shape of its own
takes most likely is that shape, with a sentence where a text belongs.
"""

from collections.abc import Callable

import msgspec

from relay.config import HttpDestination
from relay.exchange import Request
from relay.formats.context import context
from relay.formats.wording import Failed
from relay.notification import Notification
from relay.template import Template, TemplateError

BODY_MAX = 262_144
"""The characters of all texts in a body; what would be beyond is the headline."""
PLAIN = "text/plain; charset=utf-8"

_Tree = dict[str, "_Tree"] | list["_Tree"] | Template | int | float | bool | None
_Write = Callable[[Template, str], str]


def renderer(to: HttpDestination, failed: Failed) -> Callable[[Notification], Request]:
    """What renders the body, compiled once; ``failed`` is told of every template that fails."""
    url = to.endpoint
    if to.body_text is not None:
        text = Template(to.body_text)
        kind = to.content_type or PLAIN
        return lambda notification: Request(
            _writing(notification, failed)(text, "body_text").encode(errors="replace"),
            url,
            {"Content-Type": kind},
        )
    tree = _compiled(to.body)
    return lambda notification: Request(
        msgspec.json.encode(_filled(tree, "body", _writing(notification, failed))),
        url,
        {"Content-Type": "application/json"},
    )


def _compiled(value: object) -> _Tree:
    match value:
        case dict():
            return {str(key): _compiled(inner) for key, inner in value.items()}
        case list():
            return [_compiled(inner) for inner in value]
        case str():
            return Template(value)
        case bool() | int() | float() | None:
            return value
    raise TypeError(f"{type(value)} is not of YAML")


def _filled(tree: _Tree, path: str, write: _Write) -> object:
    match tree:
        case dict():
            return {key: _filled(inner, f"{path}.{key}", write) for key, inner in tree.items()}
        case list():
            return [_filled(inner, f"{path}[{at}]", write) for at, inner in enumerate(tree)]
        case Template():
            return write(tree, path)
        case _:
            return tree


def _writing(notification: Notification, failed: Failed) -> _Write:
    """What writes the texts of one body."""
    known = context(notification)
    left = BODY_MAX

    def write(template: Template, path: str) -> str:
        nonlocal left
        try:
            text = template.render(known)
            if len(text) > left:
                raise TemplateError(f"makes the body longer than {BODY_MAX} characters")
        except TemplateError as error:
            failed(path, str(error))
            return str(known["headline"])
        left -= len(text)
        return text

    return write
