"""The points at which relay is killed, and how one of them is laid into a process.

Nothing of this is in the product: it is found there by its name and wrapped from outside.
"""

import functools
import inspect
import os
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from pkgutil import resolve_name
from typing import Any


class Moment(StrEnum):
    """When at a point."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Point:
    """A place in relay's work."""

    name: str
    target: str
    """A function as ``module:qualified.name``, or a part of the SQL of a statement."""
    moment: Moment
    expected_hits: int
    """So many times at least a run of some twenty events gets there, about."""

    @property
    def is_call(self) -> bool:
        """Whether it is at a function, and not at a statement."""
        return ":" in self.target


_CALLS = {
    "store.open": ("sqlite3:connect", 1),
    # Before BEGIN, and after COMMIT but before anybody is told.
    "store.transact": ("relay.store.writer:_transact", 10),
    "outbox.pending": ("relay.store.outbox:Outbox.pending", 1),
    "outbox.bookmark": ("relay.store.outbox:Outbox.checkpoint", 1),
    "outbox.containers": ("relay.store.outbox:Outbox.containers", 1),
    "outbox.take_in": ("relay.store.outbox:Outbox.commit", 3),
    "outbox.enrich": ("relay.store.outbox:Outbox.enrich", 4),
    "outbox.due": ("relay.store.outbox:Outbox.fetch_due", 6),
    "outbox.settle": ("relay.store.outbox:Outbox.ack", 20),
    "engine.greet": ("relay.ingest.docker.engine.client:EngineClient.handshake", 1),
    "inbox.put_records": ("relay.ingest.docker.buffer:EventBuffer.put_records", 2),
    # Of the word that the stream is open, and then of a look at the containers.
    "inbox.put": ("relay.ingest.docker.buffer:EventBuffer.put", 2),
    "inbox.take": ("relay.ingest.docker.buffer:EventBuffer.take", 2),
    "inbox.close": ("relay.ingest.docker.buffer:EventBuffer.close", 1),
    "cursor.admit": ("relay.ingest.docker.cursor:Cursor.admit", 12),
    "reconcile.look": ("relay.ingest.docker.reconciler:Reconciler._reconcile", 1),
    "chronicle.look": ("relay.ingest.docker.containers.tracker:ContainerTracker.on_snapshot", 1),
    "contact.sightings": ("relay.ingest.docker.engine.inspector:Inspector.inspect_many", 3),
    "enrich.ask": ("relay.ingest.docker.enrichment:Enricher._include", 4),
    "digest.since": ("relay.ingest.docker.pipeline:EventPipeline.since_ns", 1),
    "digest.read": ("relay.ingest.docker.pipeline:EventPipeline.parse", 2),
    "digest.questions": ("relay.ingest.docker.pipeline:EventPipeline.containers_to_inspect", 2),
    "digest.take_in": ("relay.ingest.docker.pipeline:EventPipeline.process", 2),
    "channel.post": ("relay.delivery.client:DestinationClient.send_rendered", 20),
    "http.send": ("relay.delivery.http.sender:HttpSender.send", 16),
    # Of a request that is on its way, the engine's among them.
    "http.answer": ("aiohttp:ClientResponse.start", 20),
    "terminal.send": ("relay.delivery.console:ConsoleSender.send", 10),
    "lane.stop": ("relay.delivery.worker:DeliveryWorker.stop", 3),
}
"""Before and after each of these calls, with how often it is made at least, about."""

_STATEMENTS = {
    "sql.begin": ("BEGIN", 12),
    "sql.create": ("CREATE TABLE", 3),
    "sql.cursor": ("INTO cursors", 2),
    "sql.container": ("INTO containers", 8),
    "sql.forget": ("DELETE FROM containers", 2),
    "sql.delivery": ("INTO deliveries", 15),
    "sql.enrich": ("UPDATE deliveries SET notification", 4),
    "sql.retry": ("UPDATE deliveries SET attempts", 2),
    "sql.promote": ("UPDATE deliveries SET due_ns", 10),
    "sql.remove": ("DELETE FROM deliveries", 20),
    "sql.commit": ("COMMIT", 12),
}
"""Before each of these statements: in the midst of a transaction."""

POINTS = (
    *(
        Point(f"{name}.{moment}", where, moment, most)
        for name, (where, most) in _CALLS.items()
        for moment in Moment
    ),
    *(
        Point(f"{name}.{Moment.BEFORE}", sql, Moment.BEFORE, most)
        for name, (sql, most) in _STATEMENTS.items()
    ),
)
"""All of them."""

SNAPSHOT_POINTS = frozenset(point for point in POINTS if "look" in point.name)
"""Those at a look at the containers, which shows what no event told."""

ENRICH_POINTS = frozenset(point for point in POINTS if "enrich" in point.name)
"""Those at what is done for routes that include more than the event."""

BY_NAME = {point.name: point for point in POINTS}


def arm(point: Point, hit: int) -> None:
    """From now on kill this process when it gets to the point for the ``hit``-th time."""
    reached = _Countdown(hit).count_down
    if point.is_call:
        _wrap(point, reached)
    else:
        _trace(point.target, reached)


class _Countdown:
    def __init__(self, hit: int) -> None:
        self._left = hit

    def count_down(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _wrap(point: Point, reached: Callable[[], None]) -> None:
    module, _, path = point.target.partition(":")
    *owners, name = path.split(".")
    owner = resolve_name(":".join([module, *owners]) if owners else module)
    setattr(owner, name, _wrapped(attrgetter(name)(owner), point.moment, reached))


def _wrapped(
    function: Callable[..., Any], moment: Moment, reached: Callable[[], None]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if moment is Moment.BEFORE:
            reached()
        result = function(*args, **kwargs)
        if moment is Moment.AFTER:
            reached()
        return result

    @functools.wraps(function)
    async def await_(*args: Any, **kwargs: Any) -> Any:
        if moment is Moment.BEFORE:
            reached()
        result = await function(*args, **kwargs)
        if moment is Moment.AFTER:
            reached()
        return result

    return await_ if inspect.iscoroutinefunction(function) else call


def _trace(sql: str, reached: Callable[[], None]) -> None:
    """SQLite calls back as a statement begins (sqlite3_trace_v2, ``SQLITE_TRACE_STMT``)."""

    class Traced(sqlite3.Connection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.set_trace_callback(lambda statement: reached() if sql in statement else None)

    setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Traced))  # noqa: B010
