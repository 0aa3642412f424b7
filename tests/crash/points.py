"""The points at which relay is killed, and how a process is made to die at one of them.

relay contains no code for this: its functions are found by name and wrapped from outside.
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
    """Before or after a call."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Point:
    """A place in relay's code."""

    name: str
    target: str
    """A function as ``module:qualified.name``, or a part of a statement's SQL."""
    moment: Moment
    expected_hits: int
    """Approximately how often relay reaches it in a run of some twenty events, or more often."""

    @property
    def is_call(self) -> bool:
        """Whether it is at a function rather than at a statement."""
        return ":" in self.target


_CALLS = {
    "store.open": ("sqlite3:connect", 1),
    # Before BEGIN; and after COMMIT, before any caller resumes.
    "store.transact": ("relay.store.writer:_transact", 10),
    "outbox.pending": ("relay.store.outbox:Outbox.pending", 1),
    "outbox.checkpoint": ("relay.store.outbox:Outbox.checkpoint", 1),
    "outbox.containers": ("relay.store.outbox:Outbox.containers", 1),
    "outbox.commit": ("relay.store.outbox:Outbox.commit", 3),
    "outbox.enrich": ("relay.store.outbox:Outbox.enrich", 4),
    "outbox.fetch_due": ("relay.store.outbox:Outbox.fetch_due", 6),
    "outbox.ack": ("relay.store.outbox:Outbox.ack", 20),
    "outbox.incident_rows": ("relay.store.outbox:Outbox.incident_rows", 1),
    "outbox.message_fates": ("relay.store.outbox:Outbox.message_fates", 1),
    "outbox.save_incident_rows": ("relay.store.outbox:Outbox.save_incident_rows", 4),
    "incidents.take": ("relay.incidents.incidents:Incidents.take", 3),
    "incidents.answered": ("relay.incidents.incidents:Incidents.answered", 1),
    "incidents.due": ("relay.incidents.incidents:Incidents.due", 2),
    "incidents.settled": ("relay.incidents.incidents:Incidents.settled", 1),
    "incidents.dead_lettered": ("relay.incidents.incidents:Incidents.dead_lettered", 1),
    "incidents.add_silence": ("relay.incidents.incidents:Incidents.add_silence", 1),
    "incidents.observe": ("relay.incidents.incidents:Incidents.observe", 1),
    "engine.handshake": ("relay.ingest.docker.engine.client:EngineClient.handshake", 1),
    "buffer.put_records": ("relay.ingest.docker.buffer:EventBuffer.put_records", 2),
    # First that the stream is open, then a snapshot of the containers.
    "buffer.put": ("relay.ingest.docker.buffer:EventBuffer.put", 2),
    "buffer.take": ("relay.ingest.docker.buffer:EventBuffer.take", 2),
    "buffer.close": ("relay.ingest.docker.buffer:EventBuffer.close", 1),
    "cursor.admit": ("relay.ingest.docker.cursor:Cursor.admit", 12),
    "reconciler.snapshot": ("relay.ingest.docker.reconciler:Reconciler._reconcile", 1),
    "tracker.snapshot": ("relay.ingest.docker.containers.tracker:ContainerTracker.on_snapshot", 1),
    "inspector.inspect": ("relay.ingest.docker.engine.inspector:Inspector.inspect", 3),
    "enricher.enrich": ("relay.ingest.docker.enrichment:Enricher._include", 4),
    "pipeline.since": ("relay.ingest.docker.pipeline:EventPipeline.since_ns", 1),
    "pipeline.decide": ("relay.ingest.docker.pipeline:EventPipeline._decide", 2),
    "evidence.collect": ("relay.ingest.docker.evidence:EvidenceCollector.collect", 2),
    "held.keep": ("relay.ingest.docker.held:HeldItems.keep", 2),
    # First that the stream is open, then that an event no longer waits.
    "cursor.release": ("relay.ingest.docker.cursor:Cursor.release", 2),
    "pipeline.process": ("relay.ingest.docker.pipeline:EventPipeline.process", 2),
    "client.send": ("relay.delivery.client:DestinationClient.send_rendered", 20),
    "http.send": ("relay.delivery.http.sender:HttpSender.send", 16),
    # Responses to any request that is under way, including those of the engine.
    "http.answer": ("aiohttp:ClientResponse.start", 20),
    "console.send": ("relay.delivery.console:ConsoleSender.send", 10),
    "worker.stop": ("relay.delivery.worker:DeliveryWorker.stop", 3),
}
"""Before and after each of these calls; with the approximate minimum number of calls in a run."""

_STATEMENTS = {
    "sql.begin": ("BEGIN", 12),
    "sql.create": ("CREATE TABLE", 3),
    "sql.cursor": ("INTO cursors", 2),
    "sql.container": ("INTO containers", 2),
    "sql.container_times": ("UPDATE containers", 2),
    "sql.remove_container": ("DELETE FROM containers", 1),
    "sql.incident_rows": ("INTO incident_rows", 3),
    "sql.delivery": ("INTO deliveries", 15),
    "sql.enrich_hold": ("UPDATE deliveries SET hold_ns", 4),
    "sql.enrich_long": ("INTO long_notifications", 4),
    "sql.enrich": ("UPDATE deliveries SET notification", 4),
    "sql.retry": ("UPDATE deliveries SET attempts", 2),
    "sql.release": ("UPDATE deliveries SET due_ns", 10),
    "sql.delete": ("DELETE FROM deliveries", 20),
    "sql.commit": ("COMMIT", 12),
}
"""Before each of these statements, inside a transaction."""

POINTS = (
    *(
        Point(f"{name}.{moment}", target, moment, expected_hits)
        for name, (target, expected_hits) in _CALLS.items()
        for moment in Moment
    ),
    *(
        Point(f"{name}.{Moment.BEFORE}", sql, Moment.BEFORE, expected_hits)
        for name, (sql, expected_hits) in _STATEMENTS.items()
    ),
)
"""All points."""

SNAPSHOT_POINTS = frozenset(point for point in POINTS if "snapshot" in point.name)
"""Those at a snapshot of the containers, which shows deaths that no event has reported."""

REMOVAL_POINTS = frozenset(point for point in POINTS if "remove_container" in point.name)
"""Those at the removal of a container from the store."""

CHANGE_POINTS = frozenset(point for point in POINTS if "container_times" in point.name)
"""Those at the change of a container that is in the store."""

INSPECTION_POINTS = frozenset(
    point for point in POINTS if point.name.startswith(("inspector.", "held."))
)
"""Those at an event that waits until its container was inspected."""

INCIDENT_POINTS = frozenset(point for point in POINTS if point.name.startswith("incidents."))
"""Those at what relay does about an incident."""

ENRICH_POINTS = frozenset(point for point in POINTS if "enrich" in point.name)
"""Those at the enrichment of notifications whose route includes more than the event."""

REFUSAL_POINTS = frozenset(point for point in POINTS if "dead_lettered" in point.name)
"""Those at a message about incidents that was refused."""

ACCEPTANCE_POINTS = frozenset(point for point in POINTS if "incidents.settled" in point.name)
"""Those at a message about incidents that was accepted."""

RETRY_POINTS = frozenset(point for point in POINTS if "retry" in point.name)
"""Those at a request that failed and is to be repeated."""

CREATION_POINTS = frozenset(point for point in POINTS if "create" in point.name)
"""Those at the creation of the store."""

BY_NAME = {point.name: point for point in POINTS}


def arm(point: Point, hit: int) -> None:
    """Kill this process when it reaches the point for the ``hit``-th time from now on."""
    on_hit = _Countdown(hit).count_down
    if point.is_call:
        _wrap(point, on_hit)
    else:
        _trace(point.target, on_hit)


class _Countdown:
    def __init__(self, hit: int) -> None:
        self._left = hit

    def count_down(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _wrap(point: Point, on_hit: Callable[[], None]) -> None:
    module, _, path = point.target.partition(":")
    *owners, name = path.split(".")
    owner = resolve_name(":".join([module, *owners]) if owners else module)
    setattr(owner, name, _wrapped(attrgetter(name)(owner), point.moment, on_hit))


def _wrapped(
    function: Callable[..., Any], moment: Moment, on_hit: Callable[[], None]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if moment is Moment.BEFORE:
            on_hit()
        result = function(*args, **kwargs)
        if moment is Moment.AFTER:
            on_hit()
        return result

    @functools.wraps(function)
    async def await_(*args: Any, **kwargs: Any) -> Any:
        if moment is Moment.BEFORE:
            on_hit()
        result = await function(*args, **kwargs)
        if moment is Moment.AFTER:
            on_hit()
        return result

    return await_ if inspect.iscoroutinefunction(function) else call


def _trace(sql: str, on_hit: Callable[[], None]) -> None:
    """Use SQLite's callback at the start of each statement (sqlite3_trace_v2,
    ``SQLITE_TRACE_STMT``).
    """

    class Traced(sqlite3.Connection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.set_trace_callback(lambda statement: on_hit() if sql in statement else None)

    setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Traced))  # noqa: B010
