"""What is wrong with a template."""

from enum import Enum

_WORDS_MAX = 200
"""The longest message."""


class Fault(Enum):
    """What is wrong with a template, in words that are about any."""

    SYNTAX = "it is no template"
    NAME = "it names what there is not"
    KIND = "it takes a list or a mapping for a text"
    BOUNDS = "it does or makes too much"
    VALUE = "it fails for these values"


class TemplateError(Exception):
    """A template that cannot be rendered; its text says why in one line, and holds no value.

    It may hold names and texts of the template's source.
    """

    def __init__(self, fault: Fault, words: str) -> None:
        line = " ".join(words.split())
        super().__init__(line if len(line) <= _WORDS_MAX else line[: _WORDS_MAX - 1] + "…")
        self.fault = fault
