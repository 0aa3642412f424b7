"""Loop 1: what an engine says, digested batch by batch and committed to the store."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from relay.bookmark import Bookmark
from relay.config import StartFrom
from relay.engine.cause import Causes
from relay.engine.cursor import Cursor
from relay.engine.inbox import Connection, Dropped, Inbox, Item, Opened, Record
from relay.engine.record import Flaw, Malformed, parse
from relay.event import Event, happening
from relay.notification import notify
from relay.routing.router import Router
from relay.store.outbox import Intake, Outbox

log = structlog.get_logger()

BATCH = 500
"""How many items are digested at once: few milliseconds, so that the reader gets its turn."""


def beginning_ns(start_from: StartFrom, engine_now_ns: int) -> int:
    """From when on a first start takes events, by the engine's time."""
    match start_from:
        case "now":
            return engine_now_ns
        case "oldest":
            return 1
        case timedelta():
            return max(1, engine_now_ns - start_from // timedelta(microseconds=1) * 1000)


@dataclass(slots=True)
class Digest:
    """What one engine's events come to: pure, but for the state of the stream that it keeps."""

    engine: str
    start_from: StartFrom
    router: Router
    cursor: Cursor | None = None
    """None until the first start's first connection."""
    causes: Causes = field(default_factory=Causes)
    malformed: Counter[Flaw] = field(default_factory=Counter)

    def since_ns(self, engine_now_ns: int) -> int:
        """From when on to ask the engine; decides where a first start begins."""
        if self.cursor is None:
            start_ns = beginning_ns(self.start_from, engine_now_ns)
            self.cursor = Cursor(Bookmark.beginning(start_ns))
        return self.cursor.since_ns

    def remembers(self, event: Event) -> bool:
        """Whether the event was taken in."""
        return self.cursor is not None and self.cursor.remembers(event)

    def take_in(self, items: list[Item], now_ns: int) -> Intake:
        """The notifications of a batch and the cursor after it."""
        notifications = [
            (notify(step.route.name, event), step.destinations)
            for item in items
            if (event := self._event(item, now_ns)) is not None
            for step in self.router.route(event)
        ]
        bookmark = self.cursor.bookmark() if self.cursor is not None else None
        return Intake(self.engine, bookmark, notifications)

    def _event(self, item: Item, now_ns: int) -> Event | None:
        """The event to be routed, if the item is one and is new."""
        match item:
            case Event():
                return item
            case Dropped():
                return _gap(item, now_ns)
            case Opened():
                return None
            case Record(connection, content):
                return self._fresh(connection, content)

    def _fresh(self, connection: Connection, content: bytes) -> Event | None:
        event = parse(
            content,
            engine=connection.engine,
            host=connection.host,
            live_from_ns=connection.opened_ns,
        )
        if isinstance(event, Malformed):
            self._complain(event)
            return None
        judged = self.causes.judge(event)
        assert self.cursor is not None, "a connection is opened from a cursor"
        return judged if self.cursor.admit(judged) else None

    def _complain(self, record: Malformed) -> None:
        """Count what is no event, and show the first of each kind."""
        self.malformed[record.flaw] += 1
        if self.malformed[record.flaw] == 1:
            head = record.head.decode(errors="replace")
            log.warning("event.malformed", engine=self.engine, flaw=record.flaw, head=head)


def _gap(dropped: Dropped, now_ns: int) -> Event:
    """What relay says of itself when it had to drop what it read."""
    connection = dropped.connection
    log.error("events.dropped", engine=connection.engine, count=dropped.count, why=dropped.reason)
    return happening(
        "gap",
        engine=connection.engine,
        host=connection.host,
        time_ns=now_ns,
        name=connection.engine,
        attributes={"count": str(dropped.count), "reason": dropped.reason},
    )


async def ingest(inbox: Inbox, digest: Digest, outbox: Outbox, now: Callable[[], int]) -> None:
    """Digest and commit what the inbox holds, until it is closed and empty."""
    while items := await inbox.take(BATCH):
        now_ns = now()
        await outbox.take_in(digest.take_in(items, now_ns), now_ns)
