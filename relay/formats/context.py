"""The context of templates, with what a person would be told."""

from collections.abc import Mapping

from relay import context as words
from relay.formats.included import included
from relay.formats.phrase import headline
from relay.notification import Included, Notification

HEADLINE_MAX = 200


def context(notification: Notification, spell: words.Spell = str) -> Mapping[str, object]:
    """The names that a template may use, for one notification: see `relay.context`."""
    said = headline(notification, HEADLINE_MAX)
    return words.context(notification, said, included(notification) or Included(), spell)
