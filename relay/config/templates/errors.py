"""Errors of templates."""

from enum import Enum

_MAX_MESSAGE = 200
"""The longest message, in characters."""


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
