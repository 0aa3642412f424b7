"""What a route of a hub includes with an event of another host: what came with the event.

Only the relay of the host can ask its engine, and it has done so before it sent the event. So what
a route wants is there at once, or never.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from relay.core.include import Include, Included
from relay.core.notification import Notification

NOT_INCLUDED = "not included at the edge"
"""What a message says instead of what the host's relay did not send."""


def answer(include: Include, sent: Included | None) -> Included:
    """Return the part of what came with an event that a route wants.

    If a container has no log or no health check, that is not there either: neither is missing.
    """
    if sent is None:
        return Included(missing=NOT_INCLUDED)
    inspect = {path: sent.inspect[path] for path in include.inspect if path in sent.inspect}
    is_partial = len(inspect) < len(include.inspect)
    return Included(
        logs=sent.logs[-include.logs :] if sent.logs and include.logs else None,
        health=sent.health if include.health else None,
        inspect=inspect,
        missing=sent.missing or (NOT_INCLUDED if is_partial else None),
    )


def complete(notification: Notification, sent: Mapping[str, Included]) -> Notification:
    """Return a notification of one event with what its route includes, which it need not wait for.

    ``sent`` is what came with events, by the event's id.
    """
    include = notification.include
    if include is None:
        return notification
    included = answer(include, sent.get(notification.events[0].id))
    return replace(notification, include=None, included=included)
