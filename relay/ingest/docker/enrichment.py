"""What routes want to be told of a container beside its event, asked of its engine."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from relay.core.counters import EngineTally
from relay.core.event import Event
from relay.core.notification import Include, Included, Notification
from relay.ingest.docker.engine.client import FAILURES, EngineRefused, words
from relay.ingest.docker.engine.container_details import (
    field,
    health_output,
    inspection,
    log_lines,
    pick,
)
from relay.store.records import Intake, Outbox, Receipt

ANSWER_S = 2.0
"""How long an engine may take for all of one notification, its wait for a turn among that: a
second less than the store holds the deliveries."""

AT_ONCE = 8
"""How many notifications one engine is asked about at once."""

WAITING = 1000
"""How many may wait for that. What would be further behind could not be had in time anyway."""

GONE = "the container is gone"


class Engine(Protocol):
    """What is asked of an engine. Both raise one of `FAILURES`."""

    async def inspect(self, container: str) -> bytes | None:
        """The JSON of ``GET /containers/{id}/json``; None if there is no such container."""
        ...

    async def logs(self, container: str, lines: int) -> bytes:
        """The body of ``GET /containers/{id}/logs``."""
        ...


@dataclass(frozen=True, slots=True)
class _Errand:
    notification: Notification
    include: Include
    seqs: Sequence[int]
    until_s: float
    """When the answers must be there, by the loop's clock."""


class Enricher:
    """Completes the notifications about one engine's events while the store holds them.

    Whatever it does not get to goes out at the end of its hold as it is.
    """

    def __init__(
        self,
        engine: Callable[[], Engine | None],
        outbox: Outbox,
        now: Callable[[], int],
        tally: EngineTally,
        answer_s: float = ANSWER_S,
    ) -> None:
        """``engine`` gives the connection that there is at the moment, None if there is none."""
        self._engine = engine
        self._outbox = outbox
        self._now = now
        self._tally = tally
        self._answer_s = answer_s
        self._errands: asyncio.Queue[_Errand] = asyncio.Queue(WAITING)

    def take(self, intake: Intake, receipt: Receipt) -> None:
        """Complete what was committed, where it asks for that. Waits for nothing."""
        until_s = asyncio.get_running_loop().time() + self._answer_s
        for (notification, _), seqs in zip(intake.notifications, receipt.seqs, strict=True):
            include = notification.include
            if include is not None and seqs and not self._errands.full():
                self._errands.put_nowait(_Errand(notification, include, seqs, until_s))

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(AT_ONCE):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while True:
            errand = await self._errands.get()
            event = errand.notification.events[0]
            included = await self._ask(event, errand.include, errand.until_s)
            notification = msgspec.structs.replace(errand.notification, included=included)
            enriched = await self._outbox.enrich(errand.seqs, notification, self._now())
            self._tally.letters_shed += enriched.letters_shed

    async def _ask(self, event: Event, include: Include, until_s: float) -> Included:
        """What could be had until then, and why the rest could not."""
        if event.type != "container" or not event.actor.id:
            return Included(missing="only containers have logs, health checks and inspect fields")
        engine = self._engine()
        if engine is None:
            return Included(missing="the engine is not connected")
        return await self._learn(engine, event.actor.id, include, until_s)

    async def _learn(
        self, engine: Engine, container: str, include: Include, until_s: float
    ) -> Included:
        found = Included()
        try:
            async with asyncio.timeout_at(until_s):
                body = await engine.inspect(container)
                if body is None:
                    return Included(missing=GONE)
                inspected = inspection(body)
                if inspected is None:
                    return Included(missing="the engine's answer cannot be read")
                found = _shown(inspected, include)
                if include.logs:
                    framed = pick(inspected, "Config.Tty") is not True
                    log = await engine.logs(container, include.logs)
                    lines = log_lines(log, framed=framed, most=include.logs)
                    found = msgspec.structs.replace(found, logs=lines)
        except FAILURES as failure:
            return msgspec.structs.replace(found, missing=self._why(failure))
        return found

    def _why(self, failure: BaseException) -> str:
        match failure:
            case TimeoutError():
                return f"the engine did not answer in {self._answer_s:g} s"
            # 409: moby, of one that is just being removed
            case EngineRefused(status=404 | 409):
                return GONE
            case EngineRefused(status=403):
                return "a socket proxy forbids it (403)"
            case EngineRefused(status=501):
                return "its log driver cannot be read"
            case _:
                return f"the engine could not be asked: {words(failure)}"


def _shown(inspected: Mapping[str, object], include: Include) -> Included:
    """What the inspection alone tells."""
    return Included(
        health=health_output(inspected) if include.health else None,
        inspect={path: field(inspected, path) for path in include.inspect},
    )
