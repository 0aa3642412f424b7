"""Runs recorded events through the daemon's pipeline, routes and incidents, and keeps each result.

It stands in for one engine's stream, and its clock is that of the events. Nothing is sent and
nothing is stored; containers are inspected only if the caller passes in their snapshots.

`format_event` and `describe_mismatch` put an event and an unmet condition in words, as `relay
explain` and `relay test` print them. Names come from containers and images, which anybody can name,
so what does not print is escaped.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import msgspec
from msgspec.structs import replace

from relay.config import Config
from relay.core.event import RELAY_ENGINE, TYPE_RELAY, Cause, Event
from relay.core.text import escape_unprintable, truncate
from relay.dryrun.incidents import PlannedNotification, SimulatedIncidents
from relay.incidents.effect import Effect
from relay.incidents.policy import build_policies
from relay.ingest.docker.batch import ParsedRecord
from relay.ingest.docker.buffer import Connection, StreamOpened, parse_record
from relay.ingest.docker.engine.inspection import ContainerSnapshot, Inspection
from relay.ingest.docker.engine.parser import InvalidRecord
from relay.ingest.docker.pipeline import EventPipeline
from relay.routing.matcher import Condition
from relay.routing.router import Router, RouteResult, Verdict

BATCH_SIZE = 500
"""How many records are processed at once, as in the daemon."""
LOOKAHEAD_SIZE = 3 * BATCH_SIZE
"""How many of the records after a batch may show why a container in the batch died."""
NAME_MAX = 60
"""Longest name of an actor in words, in UTF-16 units."""


class RoutedEvent(msgspec.Struct, frozen=True, dict=True):
    """One event, and what the routes make of it."""

    event: Event
    matches: Sequence[RouteResult]
    """The results of the routes that match it."""
    router: Router
    effects: Mapping[str, Effect] = {}
    """What it did at destinations of incidents, if the simulator watches that."""

    @cached_property
    def routes(self) -> Sequence[RouteResult]:
        """The result of each route. That of one that does not match takes long to find."""
        return self.router.explain(self.event)


@dataclass(frozen=True, slots=True)
class InputEvent:
    """One record, as an engine sends it."""

    record: bytes
    cause: Cause | None = None
    """The cause of the death; None if it follows from the events before it."""
    interactive: bool = False
    """See `Event.interactive`."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What the daemon would make of one batch."""

    routed: list[RoutedEvent]
    planned: list[PlannedNotification]
    """What is sent until the last event of the batch, in the order of time."""


class Simulator:
    """Simulates relay for one engine, from records to planned notifications."""

    def __init__(
        self,
        config: Config,
        engine: str | None = None,
        *,
        podman: bool = False,
        host: str | None = None,
        own_container: str | None = None,
    ) -> None:
        """Simulate the engine ``engine``; None for `Config.usual_engine`.

        ``host`` is the engine's own name, used unless the configuration sets one.
        ``own_container`` is that of `EventPipeline`. An event of ``type: relay`` gets the
        engine ``engine``, or ``relay`` if that is None.
        """
        name = engine or config.usual_engine
        self._self_event_engine = engine or RELAY_ENGINE
        engine_config = config.docker_engines.get(name)
        host = (engine_config.host if engine_config else None) or host or name
        self._connection = Connection(name, host, opened_ns=0, since_ns=0, podman=podman)
        self._routed: list[RoutedEvent] = []
        self._routes = config.routes
        self.incidents = SimulatedIncidents(build_policies(config), Router(config.routes), name)
        router = Router(
            config.routes,
            lambda event, matches: self._routed.append(RoutedEvent(event, matches, router)),
        )
        self._pipeline = self._open_pipeline(router, own_container)

    def _open_pipeline(self, router: Router, own_container: str | None = None) -> EventPipeline:
        engine = self._connection.engine
        pipeline = EventPipeline(engine, "oldest", router)
        pipeline.own_container = own_container
        pipeline.since_ns(1)
        pipeline.process([StreamOpened(self._connection)], 1)
        return pipeline

    def parse(
        self, input_event: InputEvent, *, may_be_relay: bool = True
    ) -> ParsedRecord | Event | InvalidRecord:
        """Parse one record into what `run` takes.

        relay's own events, and deaths with a given cause, become an `Event`, which the pipeline
        passes to the routes unchanged. A record that an engine sent is never an event of relay's.
        """
        event = parse_record(input_event.record, self._connection, may_be_relay=may_be_relay)
        if isinstance(event, InvalidRecord):
            return event
        event = replace(event, interactive=input_event.interactive)
        if event.type == TYPE_RELAY:
            return replace(event, engine=self._self_event_engine, host=self._self_event_engine)
        if input_event.cause is not None:
            return replace(event, cause=input_event.cause)
        return ParsedRecord(self._connection, event)

    def containers_to_inspect(self, items: Sequence[ParsedRecord | Event]) -> set[str]:
        """Return the ids of all containers that the daemon would inspect for these records."""
        found: set[str] = set()
        trial = self._open_pipeline(Router(self._routes))
        trial.process(items, 1)
        while questions := trial.questions:
            for question in questions:
                if question.needs_inspection:
                    found.add(question.container)
                    trial.answer(question.event_id, Inspection(None))
            trial.give_up_evidence(question.event_id for question in questions)
            trial.process([], 1)
        return found

    def run(
        self,
        items: Iterable[ParsedRecord | Event],
        snapshots: Mapping[str, ContainerSnapshot] | None = None,
        until_ns: int = 0,
    ) -> Iterator[BatchResult]:
        """Process the records batch by batch; ``snapshots`` are the inspected containers by id.

        The last result has no events: time passes until ``until_ns``, then until nothing but
        reminders is due.
        """
        rest = iter(items)
        ahead = list(islice(rest, BATCH_SIZE + LOOKAHEAD_SIZE))
        while ahead:
            batch, ahead = ahead[:BATCH_SIZE], ahead[BATCH_SIZE:]
            self._routed = []
            self._pipeline.process(batch, 1, snapshots or {}, ahead)
            result = BatchResult([], [])
            for each in self._routed:
                result.planned.extend(self._take(each))
                result.routed.append(self._add_effects(each))
            yield result
            ahead += islice(rest, BATCH_SIZE)
        yield BatchResult([], self.incidents.finish(until_ns))

    def _add_effects(self, routed: RoutedEvent) -> RoutedEvent:
        effects = self.incidents.effects
        return replace(routed, effects=effects) if effects else routed

    def _take(self, routed: RoutedEvent) -> list[PlannedNotification]:
        sent = [result for result in routed.matches if result.verdict is Verdict.SENT]
        return self.incidents.take(routed.event, sent)


def format_event(event: Event) -> str:
    """Return what happened, as in ``container die 'web' (exit_code 3, cause crashed)``."""
    name = truncate(event.actor.name or "", NAME_MAX)
    summary = f"{escape_unprintable(event.type)} {escape_unprintable(event.action)} {name!r}"
    facts = {"exit_code": event.exit_code, "cause": event.cause, "health": event.health}
    details = ", ".join(
        f"{key} {escape_unprintable(str(value))}"
        for key, value in facts.items()
        if value is not None
    )
    return f"{summary} ({details})" if details else summary


def describe_mismatch(condition: Condition, event: Event) -> str:
    """Return how an event misses a condition, as in ``cause: wanted 'oom', found 'crashed'``."""
    return (
        f"{condition.path}: wanted {condition.expected}, found {condition.describe_actual(event)}"
    )
