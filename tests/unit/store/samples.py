"""Samples of what is committed to a store."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from relay.core.checkpoint import CHUNK_EVENTS, SEEN_BYTES, Checkpoint, encode_seen
from relay.core.container import Container
from relay.core.event import Actor, make_event_id
from relay.core.exchange import Delivered
from relay.core.incident import Update, UpdateReason
from relay.core.include import Include
from relay.core.notification import Notification, build_notification
from relay.store.outbox import Outbox
from relay.store.records import Ack, Delivery, IngestCommit, subject_of
from tests.support.events import make_event


def make_notification(number: int, container: str = "web") -> Notification:
    """The notification of the ``number``-th event of a container."""
    event = make_event(
        id=make_event_id("here", number, "container", "die", container, {}),
        time_ns=number,
        actor=Actor(container, container, "bb:1", {}),
    )
    return build_notification("crashed", event)


def make_update(number: int, group: str = "shop") -> Notification:
    """A notification that reports the incidents of a group, the ``number``-th."""
    update = Update(UpdateReason.OPENED, group={"project": group})
    return msgspec.structs.replace(make_notification(number), update=update)


def make_large_update(number: int) -> Notification:
    """A message of about 2 kB, about a group of its own."""
    return msgspec.structs.replace(make_update(number, f"g{number}"), route="r" * 1500)


def make_commit(
    *notifications: Notification, to: Sequence[str] = ("ops",), checkpoint: Checkpoint | None = None
) -> IngestCommit:
    """A batch of one engine's, each notification for the same destinations."""
    return IngestCommit("here", checkpoint, [(notification, to) for notification in notifications])


CHUNK_BYTES = CHUNK_EVENTS * SEEN_BYTES
CHECKPOINT = Checkpoint(7, 3, encode_seen(make_notification(1).events[0].id, 5))
CONTAINER = Container(
    "c1",
    name="web",
    image="bb:1",
    labels={"exitCode": "3", "a": "b\0ü"},
    exit_code_hidden=True,
    signal_hidden=True,
    run_time_hidden=True,
    started_ns=1,
    died_ns=2,
    inferred_ns=3,
    requested_ns=4,
    signal_ns=5,
    oom_ns=6,
    oom_inferred_ns=7,
    signal=15,
    health="healthy",
    stop_signal=3,
    interactive=True,
    auto_remove=True,
    restart_policy="on-failure",
    max_retries=2,
    memory_limit=2**26,
    ended_unasked=True,
    start_failed=True,
)


def with_include(notification: Notification) -> Notification:
    """The notification as it is before what its route includes has been fetched."""
    return msgspec.structs.replace(notification, include=Include(logs=5))


def fill_version_1(connection: sqlite3.Connection) -> None:
    """Insert two deliveries about one subject and a cursor, as the first version wrote them."""
    for number, attempts, due_ns in ((1, 3, 10), (2, 0, None)):
        notification = make_notification(number)
        row = ("ops", subject_of(notification), msgspec.json.encode(notification))
        connection.execute(
            "INSERT INTO deliveries (destination, subject, notification, created_ns, attempts,"
            " due_ns) VALUES (?, ?, ?, 10, ?, ?)",
            (*row, attempts, due_ns),
        )
    recent = bytes.fromhex(make_notification(1).events[0].id.removeprefix("evt_")) + (5).to_bytes(
        8, "little"
    )
    connection.execute("INSERT INTO cursors VALUES ('here', 7, 3, ?)", (recent,))
    connection.commit()


async def fetch_due(outbox: Outbox, now_ns: int, to: str = "ops") -> list[Delivery]:
    """Return everything that is due for a destination."""
    return list((await outbox.fetch_due(to, now_ns, 10_000)).deliveries)


async def due_numbers(outbox: Outbox, now_ns: int, to: str = "ops") -> list[int]:
    """The numbers of the notifications that are due, in order."""
    return [
        delivery.notification.events[0].time_ns for delivery in await fetch_due(outbox, now_ns, to)
    ]


async def deliver_all(outbox: Outbox) -> list[int]:
    """Deliver everything, retries too; return the numbers of the notifications in order."""
    numbers: list[int] = []
    while due := await fetch_due(outbox, 2**62):
        numbers += [delivery.notification.events[0].time_ns for delivery in due]
        await outbox.ack([Ack(delivery, Delivered()) for delivery in due], 20, flush=True)
    return numbers


def overwrite_page(file: Path) -> bytes:
    """Overwrite the page with most deliveries; return the file's new content."""
    content = bytearray(file.read_bytes())
    pages = range(4096, len(content), 4096)
    fullest = max(pages, key=lambda page: content.count(b'"ntf_', page, page + 4096))
    content[fullest : fullest + 4096] = b"\xa5" * 4096
    file.write_bytes(content)
    return bytes(content)


def read_rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    """The result of a query on another connection to the file."""
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()
