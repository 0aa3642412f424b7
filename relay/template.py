"""Texts with Jinja expressions in them, rendered for a notification.

Who writes the configuration writes the template; what it is filled with comes from whoever may
start a container.
"""

from collections import defaultdict
from collections.abc import Mapping

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from relay.notification import Notification

RENDERED_MAX = 65_536
"""The characters that a template may make at most."""


class TemplateError(Exception):
    """A template that cannot be rendered; its text says why in one line."""


_environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)


def is_template(text: str) -> bool:
    """Whether a text is more than itself."""
    return any(mark in text for mark in ("{{", "{%", "{#"))


class Template:
    """A text, compiled."""

    def __init__(self, source: str) -> None:
        """Raises `TemplateError` for what is no template."""
        try:
            self._template = _environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"{error.message} (line {error.lineno})") from None

    def render(self, context: Mapping[str, object]) -> str:
        """The text for a context; raises `TemplateError`."""
        try:
            return self._template.render(context)
        except Exception as error:
            raise TemplateError(str(error)) from None


class Context:
    """What a template may use."""

    @staticmethod
    def of(notification: Notification, headline: str) -> Mapping[str, object]:
        """For a notification."""
        return {"headline": headline, "notification": notification, "event": notification.events[0]}


def sample() -> Mapping[str, object]:
    """A context of an event that has everything."""
    attributes: Mapping[str, str] = defaultdict(lambda: "sample")
    return {"event": {"name": "web-1", "exit_code": 137, "labels": attributes}}
