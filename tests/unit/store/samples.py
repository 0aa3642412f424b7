"""What is taken into a store."""

import sqlite3
from collections.abc import Sequence

import msgspec

from relay.core.checkpoint import Bookmark
from relay.core.event import Actor, Event, event_id
from relay.core.notification import Include, Notification, notify
from relay.store.records import Intake, subject


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


def held(notification: Notification) -> Notification:
    """The notification, as it is before what its route includes was asked for."""
    return msgspec.structs.replace(notification, include=Include(logs=5))


def fill_version_1(connection: sqlite3.Connection) -> None:
    """Two deliveries about one subject and a cursor, as the first version wrote them."""
    for number, attempts, due_ns in ((1, 3, 10), (2, 0, None)):
        notification = told(number)
        row = ("ops", subject(notification.events[0]), msgspec.json.encode(notification))
        connection.execute(
            "INSERT INTO deliveries (destination, subject, notification, created_ns, attempts,"
            " due_ns) VALUES (?, ?, ?, 10, ?, ?)",
            (*row, attempts, due_ns),
        )
    recent = bytes.fromhex(told(1).events[0].id.removeprefix("evt_")) + (5).to_bytes(8, "little")
    connection.execute("INSERT INTO cursors VALUES ('here', 7, 3, ?)", (recent,))
    connection.commit()
