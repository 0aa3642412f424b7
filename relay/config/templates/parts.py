"""What a template writes, in parts: its author's words, and what is filled in."""

from typing import NamedTuple


class FixedText(str):
    """A text that the author of a template wrote outside of all expressions."""

    __slots__ = ()

    def __str__(self) -> str:  # Jinja calls `str` on all that it writes
        return self


class TemplatePart(NamedTuple):
    """A part of what a template writes."""

    text: str
    is_fixed: bool
    """Whether it is a `FixedText`, so that it depends on no value."""
