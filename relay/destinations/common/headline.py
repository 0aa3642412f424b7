"""The headline of a notification: the same in every service, on a terminal and in the commands."""

from collections.abc import Callable

from relay.core.incident import Status
from relay.core.notification import Notification
from relay.core.text import escape_unprintable, truncate
from relay.core.zone import TimeZone
from relay.destinations.common.event_text import describe_event
from relay.destinations.common.pieces import Escapes, Piece, PieceKind, join
from relay.destinations.common.update_text import make_title


def headline(
    notification: Notification,
    limit: int,
    escape: Callable[[str], str] = escape_unprintable,
    *,
    zone: TimeZone,
) -> str:
    """Describe what a notification reports, in one sentence.

    Returns at most ``limit`` UTF-16 units; ``limit`` is at least 60. ``escape`` is the parameter of
    `relay.core.text.truncate`; times are in ``zone``.
    """
    return join(headline_pieces(notification, limit, zone, Escapes(escape, escape, escape)))


def headline_pieces(
    notification: Notification, limit: int, zone: TimeZone, escapes: Escapes
) -> list[Piece]:
    """Return the `headline` in pieces, for services that write each kind differently."""
    if notification.update is not None:
        return make_title(notification, notification.update, zone).fit(limit, escapes)
    return [Piece(PieceKind.FILLED, _describe_events(notification, limit, escapes.filled))]


def _describe_events(notification: Notification, limit: int, escape: Callable[[str], str]) -> str:
    """Describe the first event, and add whether the trouble is over and how many events follow."""
    over = "Resolved: " if notification.status is Status.RESOLVED else ""
    more = f" (and {notification.count - 1} more)" if notification.count > 1 else ""
    rest = limit - len(over) - len(more)
    return over + truncate(describe_event(notification.events[0]), rest, escape) + more
