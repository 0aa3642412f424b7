"""The context of templates, with what a person would be told."""

from collections.abc import Mapping

from relay.config.templates import context as words
from relay.core.notification import Included, Notification
from relay.destinations.common.headline import headline
from relay.destinations.common.included import get_included

HEADLINE_MAX = 200


def build_context(notification: Notification, spell: words.Escape = str) -> Mapping[str, object]:
    """The names that a template may use for one notification."""
    said = headline(notification, HEADLINE_MAX)
    return words.build_context(notification, said, get_included(notification) or Included(), spell)
