"""The values from which the templates of the configuration are rendered."""

from collections.abc import Mapping

from relay.config.templates.context import build_context
from relay.core.event import format_rfc3339
from relay.core.include import Included
from relay.core.notification import Notification
from relay.core.text import escape_unprintable
from relay.core.zone import TimeZone
from relay.destinations.common.headline import headline
from relay.destinations.common.included import get_included

TEMPLATE_HEADLINE_MAX = 200
"""The UTF-16 units of the headline that templates may use."""


def template_context(
    notification: Notification, *, for_people: bool, zone: TimeZone
) -> Mapping[str, object]:
    """Return the values that a template may use for a notification, by name.

    ``for_people``: every text that others chose is escaped, and times are to the second
    and in ``zone``. The headline is for people in any case.
    """
    return build_context(
        notification,
        headline(notification, TEMPLATE_HEADLINE_MAX, zone=zone),
        get_included(notification) or Included(),
        escape_unprintable if for_people else str,
        zone.format_rfc3339 if for_people else format_rfc3339,
    )
