"""What is wrong with a template."""

from enum import Enum

_MAX_MESSAGE = 200
"""The longest message."""


class TemplateErrorKind(Enum):
    """What is wrong with a template, in words that are about any."""

    SYNTAX = "it is no template"
    NAME = "it names what there is not"
    TYPE = "it takes a list or a mapping for a text"
    LIMIT = "it does or makes too much"
    VALUE = "it fails for these values"


class TemplateError(Exception):
    """A template that cannot be rendered; its text says why in one line, and holds no value.

    It may hold names and texts of the template's source.
    """

    def __init__(self, kind: TemplateErrorKind, message: str) -> None:
        line = " ".join(message.split())
        super().__init__(line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 1] + "…")
        self.kind = kind
