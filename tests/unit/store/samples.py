"""What is taken into a store."""

from collections.abc import Sequence

from relay.bookmark import Bookmark
from relay.event import Actor, Event, event_id
from relay.notification import Notification, notify
from relay.store.outbox import Intake


def told(number: int, about: str = "web") -> Notification:
    """The notification of an event, the ``number``-th, about a container."""
    event = Event(
        id=event_id("here", number, "container", "die", about, {}),
        engine="here",
        host="node-1",
        type="container",
        action="die",
        detail=None,
        scope="local",
        time_ns=number,
        actor=Actor(about, about, "bb:1", {}),
    )
    return notify("crashed", event)


def intake(
    *notifications: Notification, to: Sequence[str] = ("ops",), bookmark: Bookmark | None = None
) -> Intake:
    """A batch of one engine's, each notification for the same destinations."""
    return Intake("here", bookmark, [(notification, to) for notification in notifications])
