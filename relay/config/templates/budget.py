"""What a render may take and make: counted, so that it needs no clock."""

from collections.abc import ItemsView, KeysView, ValuesView
from contextvars import ContextVar

from relay.config.templates.errors import Fault, TemplateError

STEPS_MAX = 20_000
"""Look-ups, calls, operations and rounds of loops; what works on something long is several."""
CHARS_MAX = 65_536
"""The characters that are made or written, in all places where a template does so."""
BITS_MAX = 4_096
"""Of a whole number that an operation makes."""
_PER_STEP = 64
"""So many characters are worked on in a step."""
_ITEM = 4
"""As many characters an item of a list is worth."""


class Budget:
    """What is left of a render, or of several that are to share one."""

    def __init__(self, steps: int = STEPS_MAX, chars: int = CHARS_MAX) -> None:
        self._steps = steps
        self._chars = chars
        self.source = ""
        """Of the template that is being rendered."""

    def step(self, *worked_on: object) -> None:
        """Do something with values. Mappings weigh nothing: what is large counts what it gives."""
        self.spend(1 + sum(map(_size, worked_on)) // _PER_STEP)

    def spend(self, steps: int) -> None:
        """Take so many steps."""
        self._steps -= steps
        if self._steps < 0:
            raise TemplateError(Fault.BOUNDS, "it takes too many steps")

    def make(self, length: int) -> None:
        """Make so many characters."""
        self._chars -= length
        if self._chars < 0:
            raise TemplateError(Fault.BOUNDS, "it makes or writes too many characters")


def _size(value: object) -> int:
    """How much work a value is, in characters."""
    match value:
        case str():
            return len(value)
        case int() if value.bit_length() > BITS_MAX:
            raise TemplateError(Fault.BOUNDS, "it makes too large a number")
        case list() | tuple() | KeysView() | ValuesView() | ItemsView():
            return sum(_ITEM + len(it) if isinstance(it, str) else _ITEM for it in value)
        case range():
            return _ITEM * len(value)
        case _:
            return 0


rendering: ContextVar[Budget | None] = ContextVar("budget", default=None)
"""The budget of the render that goes on, or None."""


def step(*worked_on: object) -> None:
    """Count what is done with values in the render that goes on, if one does."""
    if (budget := rendering.get()) is not None:
        budget.step(*worked_on)


def make(length: int) -> None:
    """Count the characters that are made in the render that goes on, if one does."""
    if (budget := rendering.get()) is not None:
        budget.make(length)


def spend(steps: int) -> None:
    """Take so many steps of the render that goes on, if one does."""
    if (budget := rendering.get()) is not None:
        budget.spend(steps)
