"""The budget of a render: the steps and characters that it may use, and the error that ends it.

Every operation of a template counts against the `Budget` of its render, and a `TemplateError` ends
the render when it is used up. Counting needs no clock, so the same template and values always give
the same result.
"""

from collections.abc import ItemsView, KeysView, ValuesView
from contextvars import ContextVar
from enum import Enum

MAX_STEPS = 20_000
"""Look-ups, calls, operations and rounds of loops. An operation on a long value is many steps."""
MAX_CHARS = 65_536
"""The characters that a template creates or writes, all together."""
MAX_BITS = 4_096
"""The largest whole number that an operation may create, in bits."""
_CHARS_PER_STEP = 64
"""An operation on this many characters is one step."""
_SCANNED_PER_STEP = 16
"""Reading this many characters of a text in which something is escaped is one step."""
_ADDED_PER_STEP = 4
"""This many characters that escaping adds are one step: an escape adds one to nine, and takes about
as long as a step."""
_CHARS_PER_ITEM = 4
"""An item of a list counts as this many characters."""
_MAX_MESSAGE = 200
"""The longest message of an error, in characters."""


class TemplateErrorKind(Enum):
    """The kinds of errors. The value is a message that quotes nothing of the template."""

    SYNTAX = "it is not a valid template"
    NAME = "it uses an unknown name"
    TYPE = "it uses a list or a mapping as text"
    LIMIT = "it exceeds a limit"
    VALUE = "it fails for these values"


class TemplateError(Exception):
    """A template cannot be compiled or rendered. The message is one line.

    It never contains a value of the context, but may quote the template's source.
    """

    def __init__(self, kind: TemplateErrorKind, message: str) -> None:
        line = " ".join(message.split())
        super().__init__(line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 1] + "…")
        self.kind = kind


class Budget:
    """The steps and characters left for one render, or for several that share a budget."""

    def __init__(self, steps: int = MAX_STEPS, chars: int = MAX_CHARS) -> None:
        self._steps = steps
        self._chars = chars
        self.source = ""
        """The source of the template that is being rendered."""

    def count_work(self, *values: object) -> None:
        """Count one operation on values.

        Mappings count as nothing: a large one counts what it returns.
        """
        self.count_steps(1 + sum(map(_work_chars, values)) // _CHARS_PER_STEP)

    def count_steps(self, steps: int) -> None:
        """Count steps. Raises `TemplateError` if none are left."""
        self._steps -= steps
        if self._steps < 0:
            raise TemplateError(TemplateErrorKind.LIMIT, "it takes too many steps")

    def count_chars(self, length: int) -> None:
        """Count characters. Raises `TemplateError` if none are left."""
        self._chars -= length
        if self._chars < 0:
            raise TemplateError(TemplateErrorKind.LIMIT, "it creates or writes too many characters")


def _work_chars(value: object) -> int:
    """Return how much work a value causes, in characters."""
    match value:
        case str():
            return len(value)
        case int() if value.bit_length() > MAX_BITS:
            raise TemplateError(TemplateErrorKind.LIMIT, "it makes too large a number")
        case list() | tuple() | KeysView() | ValuesView() | ItemsView():
            return sum(
                _CHARS_PER_ITEM + (len(item) if isinstance(item, str) else 0) for item in value
            )
        case range():
            return _CHARS_PER_ITEM * len(value)
        case _:
            return 0


current_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)
"""The budget of the current render; None outside of one."""


def count_work(*values: object) -> None:
    """Count one operation on values in the current render, if there is one."""
    if (budget := current_budget.get()) is not None:
        budget.count_work(*values)


def count_chars(length: int) -> None:
    """Count characters that are created in the current render, if there is one."""
    if (budget := current_budget.get()) is not None:
        budget.count_chars(length)


def count_steps(steps: int) -> None:
    """Count steps of the current render, if there is one."""
    if (budget := current_budget.get()) is not None:
        budget.count_steps(steps)


def count_escapes(length: int, escaped_length: int) -> None:
    """Count that a text of this length was escaped, and how long that made it."""
    added = max(0, escaped_length - length)
    count_steps(length // _SCANNED_PER_STEP + added // _ADDED_PER_STEP)
