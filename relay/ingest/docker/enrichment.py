"""What routes want to be told of a container beside its event, asked of its engine."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from relay.core.counters import EngineCounters
from relay.core.event import Event
from relay.core.notification import Include, Included, Notification
from relay.ingest.docker.engine.client import ENGINE_ERRORS, EngineRefused, describe_error
from relay.ingest.docker.engine.container_details import (
    get_path,
    inspect_field,
    last_health_output,
    parse_log,
    parse_object,
)
from relay.store.outbox import Outbox
from relay.store.records import CommitResult, IngestCommit

ANSWER_TIMEOUT_S = 2.0
"""How long an engine may take for all of one notification, its wait for a turn among that: a
second less than the store holds the deliveries."""

CONCURRENCY = 8
"""How many notifications one engine is asked about at once."""

QUEUE_SIZE = 1000
"""How many may wait for that. What would be further behind could not be had in time anyway."""

CONTAINER_GONE = "the container is gone"


class Engine(Protocol):
    """What is asked of an engine. Both raise one of `FAILURES`."""

    async def inspect(self, container: str) -> bytes | None:
        """The JSON of ``GET /containers/{id}/json``; None if there is no such container."""
        ...

    async def logs(self, container: str, lines: int) -> bytes:
        """The body of ``GET /containers/{id}/logs``."""
        ...


@dataclass(frozen=True, slots=True)
class _Job:
    notification: Notification
    include: Include
    seqs: Sequence[int]
    deadline_s: float
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
        counters: EngineCounters,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        """``engine`` gives the connection that there is at the moment, None if there is none."""
        self._engine = engine
        self._outbox = outbox
        self._now = now
        self._counters = counters
        self._timeout_s = timeout_s
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(QUEUE_SIZE)

    def enqueue(self, intake: IngestCommit, receipt: CommitResult) -> None:
        """Complete what was committed, where it asks for that. Waits for nothing."""
        until_s = asyncio.get_running_loop().time() + self._timeout_s
        for (notification, _), seqs in zip(intake.notifications, receipt.seqs, strict=True):
            include = notification.include
            if include is not None and seqs and not self._jobs.full():
                self._jobs.put_nowait(_Job(notification, include, seqs, until_s))

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(CONCURRENCY):
                workers.create_task(self._run_jobs())

    async def _run_jobs(self) -> None:
        while True:
            errand = await self._jobs.get()
            event = errand.notification.events[0]
            included = await self._include(event, errand.include, errand.deadline_s)
            notification = msgspec.structs.replace(errand.notification, included=included)
            enriched = await self._outbox.enrich(errand.seqs, notification, self._now())
            self._counters.evicted_dead_letters += enriched.dead_letters_evicted

    async def _include(self, event: Event, include: Include, deadline_s: float) -> Included:
        """What could be had until then, and why the rest could not."""
        if event.type != "container" or not event.actor.id:
            return Included(missing="only containers have logs, health checks and inspect fields")
        engine = self._engine()
        if engine is None:
            return Included(missing="the engine is not connected")
        return await self._query(engine, event.actor.id, include, deadline_s)

    async def _query(
        self, engine: Engine, container: str, include: Include, deadline_s: float
    ) -> Included:
        found = Included()
        try:
            async with asyncio.timeout_at(deadline_s):
                body = await engine.inspect(container)
                if body is None:
                    return Included(missing=CONTAINER_GONE)
                inspected = parse_object(body)
                if inspected is None:
                    return Included(missing="the engine's answer cannot be read")
                found = _from_inspection(inspected, include)
                if include.logs:
                    framed = get_path(inspected, "Config.Tty") is not True
                    log = await engine.logs(container, include.logs)
                    lines = parse_log(log, framed=framed, max_lines=include.logs)
                    found = msgspec.structs.replace(found, logs=lines)
        except ENGINE_ERRORS as failure:
            return msgspec.structs.replace(found, missing=self._describe_failure(failure))
        return found

    def _describe_failure(self, failure: BaseException) -> str:
        match failure:
            case TimeoutError():
                return f"the engine did not answer in {self._timeout_s:g} s"
            # 409: moby, of one that is just being removed
            case EngineRefused(status=404 | 409):
                return CONTAINER_GONE
            case EngineRefused(status=403):
                return "a socket proxy forbids it (403)"
            case EngineRefused(status=501):
                return "its log driver cannot be read"
            case _:
                return f"the engine could not be asked: {describe_error(failure)}"


def _from_inspection(inspected: Mapping[str, object], include: Include) -> Included:
    """What the inspection alone tells."""
    return Included(
        health=last_health_output(inspected) if include.health else None,
        inspect={path: inspect_field(inspected, path) for path in include.inspect},
    )
