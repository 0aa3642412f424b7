"""Texts with Jinja expressions in them, rendered within bounds.

Who writes the configuration writes the template; what it is filled with comes from whoever may
start a container. So nothing that a value holds is ever evaluated, and no render takes more than
`MAX_STEPS` steps, or makes or writes more than `MAX_CHARS` characters, whatever template and values
are: both are counted, so that it needs no clock. What could grow in other ways is not there: lists
and mappings are those of the context, or written out with constants in them.
"""

from collections.abc import Mapping

from relay.config.templates.budget import MAX_CHARS, MAX_STEPS, Budget, count_work, current_budget
from relay.config.templates.errors import TemplateError, TemplateErrorKind
from relay.config.templates.values import NAMES, TemplateValues

__all__ = [
    "MAX_CHARS",
    "MAX_SOURCE_CHARS",
    "MAX_STEPS",
    "NAMES",
    "Budget",
    "Template",
    "TemplateError",
    "TemplateErrorKind",
    "TemplateValues",
    "count_work",
    "is_template",
]

MAX_SOURCE_CHARS = 16_384
"""The longest template, in characters."""


def is_template(text: str) -> bool:
    """Whether a text is more than itself."""
    return any(mark in text for mark in ("{{", "{%", "{#"))


class Template:
    """A text, compiled."""

    def __init__(self, source: str) -> None:
        """Raises `TemplateError` for what is no template, or can never be filled."""
        if len(source) > MAX_SOURCE_CHARS:
            raise TemplateError(
                TemplateErrorKind.LIMIT, f"it is longer than {MAX_SOURCE_CHARS} characters"
            )
        # most configurations hold no template, and a relay with none is smaller by Jinja
        from relay.config.templates.compiled import compile_template  # noqa: PLC0415

        self._source = source
        self._render = compile_template(source)

    def render(self, context: Mapping[str, object], budget: Budget | None = None) -> str:
        """The text for a context; raises `TemplateError`."""
        measure = Budget() if budget is None else budget
        measure.source = self._source
        token = current_budget.set(measure)
        try:
            text = self._render(context)
        finally:
            current_budget.reset(token)
        # halves of a character, as in "\ud83d\ude00", are put together, or can be written at least
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
