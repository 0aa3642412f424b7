"""All that listens to one engine: its reader, its digester, and what is asked of it beside."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import time_ns

from relay.config import EngineConfig, ReconcileConfig
from relay.core.counters import EngineTally
from relay.core.liveness import Pulse
from relay.core.status import EngineReport, Listening
from relay.ingest.docker.buffer import Inbox
from relay.ingest.docker.containers.inference import Look
from relay.ingest.docker.containers.registry import Roster
from relay.ingest.docker.engine.client import connect
from relay.ingest.docker.engine.endpoint import Endpoint
from relay.ingest.docker.engine.inspector import Contact
from relay.ingest.docker.engine.self_container import own_container
from relay.ingest.docker.enrichment import Enricher
from relay.ingest.docker.pipeline import Digest
from relay.ingest.docker.reconciler import Reconciler
from relay.ingest.docker.stream import Listener, Pace
from relay.ingest.docker.worker import Ways, ingest
from relay.routing.router import Router
from relay.store.records import Intake, Outbox, Receipt


@dataclass(frozen=True, slots=True)
class Setup:
    """One engine, as it is configured and as the environment says where it is."""

    place: Endpoint
    engine: EngineConfig
    buffer: int
    """How much of its stream may wait in memory, in bytes."""
    reconcile: ReconcileConfig


@dataclass(frozen=True, slots=True)
class Means:
    """What all stations work with."""

    router: Router
    outbox: Outbox
    now: Callable[[], int]
    """The clock by which deliveries are due."""
    heed: Callable[[Receipt], None]
    """Is given what became of every batch."""
    pace: Pace


class Station:
    """One engine's way into the store."""

    def __init__(self, ways: Ways, listener: Listener, enricher: Enricher) -> None:
        self._ways = ways
        self._listener = listener
        self._enricher = enricher
        self._reading: list[asyncio.Task[None]] = []

    def start(
        self, tasks: asyncio.TaskGroup, heed: Callable[[Receipt], None]
    ) -> asyncio.Task[None]:
        """Listen, digest and enrich; returns what ends when all is committed after `end`.

        ``heed`` is given what became of every batch.
        """

        def committed(intake: Intake, receipt: Receipt) -> None:
            self._enricher.take(intake, receipt)
            heed(receipt)

        self._reading = [
            tasks.create_task(self._listener.run()),
            tasks.create_task(self._enricher.run()),
        ]
        return tasks.create_task(ingest(self._ways, committed))

    def end(self) -> None:
        """Stop reading; what was read is digested."""
        for task in self._reading:
            task.cancel()
        self._ways.inbox.close()

    @property
    def name(self) -> str:
        """The engine's."""
        return self._ways.digest.engine

    @property
    def hears(self) -> bool:
        """Whether the engine's stream is open."""
        return self._ways.contact.client is not None and self._listener.opened

    @property
    def report(self) -> EngineReport:
        """How it is with the engine."""
        tally = self.tally
        listening = Listening(
            self.hears, self._ways.inbox.waiting, tally.gaps.total(), tally.reconnects
        )
        return EngineReport(self._ways.digest.position_ns or None, listening)

    @property
    def tally(self) -> EngineTally:
        """What came of the engine so far."""
        return self._ways.digest.tally

    @property
    def pulse(self) -> Pulse:
        """Of what digests and commits."""
        return self._ways.pulse

    def store_was_renewed(self) -> None:
        """The store is a new one: it is told again what is known."""
        self._ways.digest.tell_all_again()
        self._ways.inbox.put(Look(self.name, self.name, 0))  # of nothing: a batch to tell it with


async def station(name: str, setup: Setup, means: Means, tally: EngineTally) -> Station:
    """The station of one engine, with what was known of it at the last commit."""
    engine, outbox = setup.engine, means.outbox
    bookmark = await outbox.bookmark(name)
    roster = Roster(await outbox.containers(name), bookmark.assumed_ns if bookmark else 0)
    digest = Digest(name, engine.start_from, means.router, bookmark, roster, tally, own_container())
    inbox, contact = Inbox(setup.buffer), Contact()
    reconciler = Reconciler(name, setup.reconcile, inbox, digest, contact, time_ns)
    reach = partial(connect, setup.place, time_ns)
    listener = Listener(name, engine.host, reach, inbox, digest, reconciler, means.pace)
    enricher = Enricher(lambda: contact.client, outbox, means.now, tally)
    return Station(Ways(inbox, digest, contact, outbox, means.now), listener, enricher)
