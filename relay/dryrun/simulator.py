"""Recorded events, digested and routed by the daemon's own code; what became of each is kept."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from msgspec.structs import replace

from relay.config import Config
from relay.core.event import RELAY_ENGINE, TYPE_RELAY, Cause, Event
from relay.core.notification import Notification
from relay.ingest.docker.buffer import Connection, StreamOpened, parse_record
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.parser import InvalidRecord
from relay.ingest.docker.pipeline import EventPipeline, ParsedRecord
from relay.routing.router import Router, RouteResult

BATCH_SIZE = 500
"""How many records are digested at once, as in the daemon."""
EXTENSION_SIZE = 50
MAX_BATCH_SIZE = 4 * BATCH_SIZE
"""How many more at a time, and at most, where what comes behind may show what they mean."""


@dataclass(frozen=True, slots=True)
class RoutedEvent:
    """One event that went along the routes, and what each said to it."""

    event: Event
    routes: Sequence[RouteResult]


@dataclass(frozen=True, slots=True)
class PlannedNotification:
    """One notification that would be sent."""

    notification: Notification
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InputEvent:
    """One record as the engine says it."""

    record: bytes
    cause: Cause | None = None
    """Why it died; None where the events before it are to tell."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch came to."""

    routed: list[RoutedEvent]
    planned: list[PlannedNotification]


class Simulator:
    """One engine's stream without the engine: nothing is inspected, and nothing is sent."""

    def __init__(
        self,
        config: Config,
        engine: str | None = None,
        *,
        podman: bool = False,
        host: str | None = None,
        own_container: str | None = None,
    ) -> None:
        """``engine`` is one that is configured; None for the first. ``host`` is what it says its
        name is; ``own_container`` is as in `EventPipeline`.

        relay's own events come from the engine that is named, else from relay.
        """
        name = engine or next(iter(config.engines))
        self._own_engine = engine or RELAY_ENGINE
        host = config.engines[name].host or host or name
        self._connection = Connection(name, host, opened_ns=0, since_ns=0, podman=podman)
        self._routed: list[RoutedEvent] = []
        router = Router(
            config.routes,
            lambda event, _: self._routed.append(RoutedEvent(event, router.explain(event))),
        )
        self._digest = EventPipeline(name, "oldest", router, own_container=own_container)
        self._digest.since_ns(1)
        self._digest.process([StreamOpened(self._connection)], 1)

    def parse(self, spoken: InputEvent) -> ParsedRecord | Event | InvalidRecord:
        """A record as the digest takes it in.

        What is relay's own, and a death whose cause is given, goes to the routes as it is.
        """
        event = parse_record(spoken.record, self._connection)
        if isinstance(event, InvalidRecord):
            return event
        if event.type == TYPE_RELAY:
            return replace(event, engine=self._own_engine, host=self._own_engine)
        if spoken.cause is not None:
            return replace(event, cause=spoken.cause)
        return ParsedRecord(self._connection, event)

    def containers_to_inspect(self, items: Sequence[ParsedRecord | Event]) -> set[str]:
        """The ids of the containers that the daemon would have inspected, at most."""
        return self._digest.containers_to_inspect([*items])

    def run(
        self,
        items: Iterable[ParsedRecord | Event],
        sightings: Mapping[str, ContainerSnapshot] | None = None,
    ) -> Iterator[BatchResult]:
        """What the daemon would make of these, batch by batch, with those containers inspected."""
        rest = iter(items)
        while batch := list(islice(rest, BATCH_SIZE)):
            self._complete_batch(batch, rest)
            self._routed = []
            intake = self._digest.process([*batch], 1, sightings)
            yield BatchResult(
                self._routed,
                [PlannedNotification(each, tuple(to)) for each, to in intake.notifications],
            )

    def _complete_batch(
        self, batch: list[ParsedRecord | Event], rest: Iterator[ParsedRecord | Event]
    ) -> None:
        while len(batch) < MAX_BATCH_SIZE and self._digest.awaits_evidence([*batch]):
            more = list(islice(rest, EXTENSION_SIZE))
            if not more:
                break
            batch += more
