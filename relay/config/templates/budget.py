"""What a render may take and make: counted, so that it needs no clock."""

from collections.abc import ItemsView, KeysView, ValuesView
from contextvars import ContextVar

from relay.config.templates.errors import TemplateError, TemplateErrorKind

MAX_STEPS = 20_000
"""Look-ups, calls, operations and rounds of loops; what works on something long is several."""
MAX_CHARS = 65_536
"""The characters that are made or written, in all places where a template does so."""
MAX_BITS = 4_096
"""Of a whole number that an operation makes."""
_CHARS_PER_STEP = 64
"""So many characters are worked on in a step."""
_CHARS_PER_ITEM = 4
"""As many characters an item of a list is worth."""


class Budget:
    """What is left of a render, or of several that are to share one."""

    def __init__(self, steps: int = MAX_STEPS, chars: int = MAX_CHARS) -> None:
        self._steps = steps
        self._chars = chars
        self.source = ""
        """Of the template that is being rendered."""

    def count_work(self, *worked_on: object) -> None:
        """Do something with values. Mappings weigh nothing: what is large counts what it gives."""
        self.count_steps(1 + sum(map(_work_chars, worked_on)) // _CHARS_PER_STEP)

    def count_steps(self, steps: int) -> None:
        """Take so many steps."""
        self._steps -= steps
        if self._steps < 0:
            raise TemplateError(TemplateErrorKind.LIMIT, "it takes too many steps")

    def count_chars(self, length: int) -> None:
        """Make so many characters."""
        self._chars -= length
        if self._chars < 0:
            raise TemplateError(TemplateErrorKind.LIMIT, "it makes or writes too many characters")


def _work_chars(value: object) -> int:
    """How much work a value is, in characters."""
    match value:
        case str():
            return len(value)
        case int() if value.bit_length() > MAX_BITS:
            raise TemplateError(TemplateErrorKind.LIMIT, "it makes too large a number")
        case list() | tuple() | KeysView() | ValuesView() | ItemsView():
            return sum(
                _CHARS_PER_ITEM + len(it) if isinstance(it, str) else _CHARS_PER_ITEM
                for it in value
            )
        case range():
            return _CHARS_PER_ITEM * len(value)
        case _:
            return 0


current_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)
"""The budget of the render that goes on, or None."""


def count_work(*worked_on: object) -> None:
    """Count what is done with values in the render that goes on, if one does."""
    if (budget := current_budget.get()) is not None:
        budget.count_work(*worked_on)


def count_chars(length: int) -> None:
    """Count the characters that are made in the render that goes on, if one does."""
    if (budget := current_budget.get()) is not None:
        budget.count_chars(length)


def count_steps(steps: int) -> None:
    """Take so many steps of the render that goes on, if one does."""
    if (budget := current_budget.get()) is not None:
        budget.count_steps(steps)
