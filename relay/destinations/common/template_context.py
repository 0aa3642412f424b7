"""The context of templates, with what a person would be told."""

from collections.abc import Mapping

from relay.config.templates import context as words
from relay.core.notification import Included, Notification
from relay.destinations.common.headline import headline
from relay.destinations.common.included import included

HEADLINE_MAX = 200


def context(notification: Notification, spell: words.Spell = str) -> Mapping[str, object]:
    """The names that a template may use for one notification."""
    said = headline(notification, HEADLINE_MAX)
    return words.context(notification, said, included(notification) or Included(), spell)
