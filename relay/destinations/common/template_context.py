"""The names that the templates of a destination may use."""

from collections.abc import Mapping

from relay.config.templates import context as templates
from relay.core.notification import Included, Notification
from relay.destinations.common.headline import headline
from relay.destinations.common.included import get_included

HEADLINE_MAX = 200


def build_context(
    notification: Notification, escape: templates.Escape = str
) -> Mapping[str, object]:
    """Return the names and values for one notification, its ``headline`` among them.

    ``escape`` is applied to every text that others chose.
    """
    included = get_included(notification) or Included()
    title = headline(notification, HEADLINE_MAX)
    return templates.build_context(notification, title, included, escape)
