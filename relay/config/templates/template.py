"""Texts with Jinja expressions, rendered within limits.

The author of the configuration writes the template, but its values come from anybody who may start
a container. So the content of a value is never evaluated, and no render takes more than `MAX_STEPS`
steps, or creates or writes more than `MAX_CHARS` characters, for any template and any values. Both
are counted (see `budget`), without a clock. A template cannot build other data that could grow: its
lists and mappings come from the context, or are lists of constants.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from relay.config.templates.budget import Budget, TemplateError, TemplateErrorKind, current_budget
from relay.config.templates.parts import TemplatePart

MAX_SOURCE_CHARS = 16_384
"""The longest source, in characters."""


def is_template(text: str) -> bool:
    """Whether a text contains Jinja syntax."""
    return any(mark in text for mark in ("{{", "{%", "{#"))


@contextmanager
def _spend(budget: Budget, source: str) -> Iterator[None]:
    """Count what is done with a template against this budget."""
    budget.source = source
    token = current_budget.set(budget)
    try:
        yield
    finally:
        current_budget.reset(token)


class Template:
    """A compiled template."""

    def __init__(self, source: str) -> None:
        """Compile ``source``. Raises `TemplateError` if it is invalid, or uses an unknown name."""
        if len(source) > MAX_SOURCE_CHARS:
            raise TemplateError(
                TemplateErrorKind.LIMIT, f"it is longer than {MAX_SOURCE_CHARS} characters"
            )
        # most configurations have no template, and without Jinja relay needs less memory
        from relay.config.templates.environment import compile_template  # noqa: PLC0415

        self._source = source
        with _spend(Budget(), source):
            compiled = compile_template(source)
        self._render = compiled.render
        self._names = compiled.names

    def uses(self, *names: str) -> bool:
        """Whether the template takes any of these from its context.

        ``event.name`` is used by a template that takes ``event.name`` or all of ``event``; and
        ``event`` by one that takes any part of it.
        """
        return any(
            f"{used}.".startswith(f"{name}.") or f"{name}.".startswith(f"{used}.")
            for used in self._names
            for name in names
        )

    def render(self, context: Mapping[str, object], budget: Budget | None = None) -> str:
        """Render the template for a context, with a new budget unless one is given.

        Raises `TemplateError`.
        """
        return _replace_surrogates("".join(part.text for part in self._run(context, budget)))

    def render_parts(self, context: Mapping[str, object]) -> Iterable[TemplatePart]:
        """Like `render`, but what its author wrote and what is filled in stay apart."""
        parts = self._run(context, None)
        return [part._replace(text=_replace_surrogates(part.text)) for part in parts]

    def _run(self, context: Mapping[str, object], budget: Budget | None) -> Iterable[TemplatePart]:
        with _spend(Budget() if budget is None else budget, self._source):
            return self._render(context)


def _replace_surrogates(text: str) -> str:
    """Join surrogate pairs such as ``\\ud83d\\ude00``, and replace unpaired surrogates."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
