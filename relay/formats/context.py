"""What templates are filled with."""

from collections.abc import Mapping

from relay.formats.phrase import headline
from relay.notification import Notification
from relay.template import Context

HEADLINE_MAX = 200


def context(notification: Notification) -> Mapping[str, object]:
    """The names that a template may use, for one notification."""
    return Context.of(notification, headline(notification, HEADLINE_MAX))
