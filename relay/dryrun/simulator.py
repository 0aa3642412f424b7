"""Recorded events, digested and routed by the daemon's own code; what became of each is kept."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from msgspec.structs import replace

from relay.config import Config
from relay.core.event import OWN_ENGINE, TYPE_RELAY, Cause, Event
from relay.core.notification import Notification
from relay.ingest.docker.buffer import Connection, Opened, read
from relay.ingest.docker.engine.inspection import Sighting
from relay.ingest.docker.engine.parser import Malformed
from relay.ingest.docker.pipeline import Digest, Heard
from relay.routing.router import Router, Step

BATCH = 500
"""How many records are digested at once, as in the daemon."""
STEP = 50
BATCH_MOST = 4 * BATCH
"""How many more at a time, and at most, where what comes behind may show what they mean."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event that went along the routes, and what each said to it."""

    event: Event
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Sent:
    """One notification that would be sent."""

    notification: Notification
    destinations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spoken:
    """One record as the engine says it."""

    record: bytes
    cause: Cause | None = None
    """Why it died; None where the events before it are to tell."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch came to."""

    told: list[Told]
    sent: list[Sent]


class Rehearsal:
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
        name is; ``own_container`` is as in `Digest`.

        relay's own events come from the engine that is named, else from relay.
        """
        name = engine or next(iter(config.engines))
        self._own_engine = engine or OWN_ENGINE
        host = config.engines[name].host or host or name
        self._connection = Connection(name, host, opened_ns=0, since_ns=0, podman=podman)
        self._told: list[Told] = []
        router = Router(
            config.routes, lambda event, _: self._told.append(Told(event, router.walk(event)))
        )
        self._digest = Digest(name, "oldest", router, own_container=own_container)
        self._digest.since_ns(1)
        self._digest.take_in([Opened(self._connection)], 1)

    def read(self, spoken: Spoken) -> Heard | Event | Malformed:
        """A record as the digest takes it in.

        What is relay's own, and a death whose cause is given, goes to the routes as it is.
        """
        event = read(spoken.record, self._connection)
        if isinstance(event, Malformed):
            return event
        if event.type == TYPE_RELAY:
            return replace(event, engine=self._own_engine, host=self._own_engine)
        if spoken.cause is not None:
            return replace(event, cause=spoken.cause)
        return Heard(self._connection, event)

    def questions(self, items: Sequence[Heard | Event]) -> set[str]:
        """The ids of the containers that the daemon would have inspected, at most."""
        return self._digest.questions([*items])

    def outcomes(
        self,
        items: Iterable[Heard | Event],
        sightings: Mapping[str, Sighting] | None = None,
    ) -> Iterator[Outcome]:
        """What the daemon would make of these, batch by batch, with those containers inspected."""
        rest = iter(items)
        while batch := list(islice(rest, BATCH)):
            self._settle(batch, rest)
            self._told = []
            intake = self._digest.take_in([*batch], 1, sightings)
            yield Outcome(self._told, [Sent(each, tuple(to)) for each, to in intake.notifications])

    def _settle(self, batch: list[Heard | Event], rest: Iterator[Heard | Event]) -> None:
        while len(batch) < BATCH_MOST and self._digest.unsettled([*batch]):
            more = list(islice(rest, STEP))
            if not more:
                break
            batch += more
