"""Enrichment: asks the engine for what a route includes with an event (``include``).

Log lines, health output and inspect fields come from the engine's API, which may be slow or gone.
So an event is committed first, and the store holds its deliveries for a short time. Meanwhile the
enricher asks the engine and completes them. A delivery that it does not complete in time is sent
as it is. An incident is reported a little later than it opens, so its answer needs no hold; the
inspection also shows what messages say of every container. An enricher runs for as long as its
session; jobs that remain then are dropped.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Protocol

import msgspec
from msgspec.structs import replace

from relay.core.clock import loop_time_s
from relay.core.counters import EngineCounters
from relay.core.event import Event, Origin
from relay.core.include import FACTS_ONLY, Include, Included
from relay.core.notification import Notification
from relay.core.tasks import spawn
from relay.incidents.inquiry import Answer, Inquiry
from relay.incidents.message import add_answer
from relay.ingest.docker.buffer import event_bytes
from relay.ingest.docker.engine.container_details import (
    LogEnd,
    get_path,
    inspect_field,
    last_health_output,
    parse_log,
    parse_object,
)
from relay.ingest.docker.engine.errors import (
    ENGINE_ERRORS,
    AnswerTooLong,
    EngineRefused,
    describe_error,
)
from relay.ingest.docker.engine.inspection import parse_inspection
from relay.store.outbox import Outbox
from relay.store.records import CommitResult, IngestCommit

ANSWER_TIMEOUT_S = 2.0
"""How long all requests for one notification may take, including the wait in the queue: one second
less than the store holds the deliveries."""

CONCURRENCY = 8
"""How many notifications one engine is asked about at the same time."""

QUEUE_SIZE = 1000
"""How many notifications and questions may wait. Any more could not be completed in time
anyway."""

QUEUE_BYTES = 16 * 2**20
"""Approximate memory of those that wait, except the last of them, which may be longer."""

LONG_LOG_BYTES = 64 * 1024
"""A longer log is parsed in a thread."""

END_ACTIONS = frozenset({"die", "oom", "stop"})
"""With events of these actions, no log lines are included that the container wrote after them."""

PERIODS_S = (300.0, 10.0, 1.0, 0.1)
"""How long before the end of its life a container's lines are looked for. If that is too much to
read, because it writes so much, the next shorter period is tried."""

READING_NS = 50_000_000
"""How long an engine may take to read the last output of a process that ended. The next life starts
100 ms after the death, or later (moby, ``restartmanager/restartmanager.go``)."""

CONTAINER_GONE = "the container is gone"

NO_ANSWER = Answer()


class Engine(Protocol):
    """What the enricher asks of an engine. Both methods raise one of `ENGINE_ERRORS`."""

    async def inspect(self, container: str) -> bytes | None:
        """Return the JSON of ``GET /containers/{id}/json``; None if there is no such container."""
        ...

    async def logs(self, container: str, lines: int) -> bytes:
        """Return the last lines of ``GET /containers/{id}/logs``, each with its time."""
        ...

    async def logs_between(self, container: str, since_ns: int, until_ns: int) -> bytes:
        """Return the lines of a period; raises `AnswerTooLong` if there are too many."""
        ...


_Complete = Callable[[Answer], Awaitable[None]]
"""Gets an answer."""


class _Job(msgspec.Struct, frozen=True):
    """A question to the engine."""

    event: Event
    include: Include
    deadline_s: float
    """By when the engine must have answered, by the loop's clock."""

    @property
    def key(self) -> tuple[str, Include]:
        """What questions have in common that have the same answer."""
        return self.event.id, self.include


class Enricher:
    """Completes the notifications about one engine's events while the store holds them."""

    def __init__(
        self,
        engine: str,
        client: Callable[[], Engine | None],
        outbox: Outbox,
        now: Callable[[], int],
        counters: EngineCounters,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        """``engine`` is the engine's name; ``client`` returns the connection to it, or None.

        ``now`` is the clock by which deliveries are due, in nanoseconds since 1970.
        """
        self._engine = engine
        self._client = client
        self._outbox = outbox
        self._now = now
        self._counters = counters
        self._timeout_s = timeout_s
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._queued_bytes = 0
        self._open: dict[tuple[str, Include], list[_Complete]] = {}
        """Who gets the answers that are still to come, by `_Job.key`."""
        self._waiting_count = 0
        """How many these are, at most `QUEUE_SIZE`."""

    def enqueue(self, commit: IngestCommit, result: CommitResult) -> None:
        """Enqueue the committed notifications that include something. Does not wait."""
        for (notification, _), seqs in zip(commit.notifications, result.seqs, strict=True):
            if notification.include is not None and seqs:
                complete = partial(self._complete, notification, seqs)
                self._enqueue(notification.events[0], notification.include, complete)

    def enqueue_inquiries(
        self, inquiries: Iterable[Inquiry], put: Callable[[Inquiry, Answer], None]
    ) -> None:
        """Enqueue questions about incidents; ``put`` gets each with its answer."""
        for inquiry in inquiries:

            async def complete(answer: Answer, inquiry: Inquiry = inquiry) -> None:
                put(inquiry, answer)

            self._enqueue(inquiry.event, inquiry.include, complete)

    def _enqueue(self, event: Event, include: Include, complete: _Complete) -> None:
        job = _Job(event, include, loop_time_s() + self._timeout_s)
        if self._waiting_count >= QUEUE_SIZE or self._queued_bytes >= QUEUE_BYTES:
            return
        self._waiting_count += 1
        if (waiting := self._open.get(job.key)) is not None:
            waiting.append(complete)
            return
        self._open[job.key] = [complete]
        self._jobs.put_nowait(job)
        self._queued_bytes += event_bytes(event)

    async def run(self) -> None:
        """Complete notifications until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for number in range(CONCURRENCY):
                name = f"engine {self._engine}: enrichment worker {number}"
                spawn(self._run_jobs(), name, workers)

    async def _run_jobs(self) -> None:
        while True:
            job = await self._jobs.get()
            self._queued_bytes -= event_bytes(job.event)
            answer = await self._include(job.event, job.include, job.deadline_s)
            for complete in self._open.pop(job.key):
                self._waiting_count -= 1
                await complete(answer)

    async def _complete(
        self, notification: Notification, seqs: Sequence[int], answer: Answer
    ) -> None:
        """Add the answer to the deliveries of a notification that the store still holds."""
        notification = add_answer(notification, answer)
        enriched = await self._outbox.enrich(seqs, notification, self._now())
        self._counters.evicted_dead_letters += enriched.dead_letters_evicted

    async def _include(self, event: Event, include: Include, deadline_s: float) -> Answer:
        """Return what the engine answered before the deadline, and why the rest is missing."""
        if event.type != "container" or not event.actor.id:
            return _missing("only containers have logs, health checks and inspect fields", include)
        engine = self._client()
        if engine is None:
            return _missing("the engine is not connected", include)
        return await self._query(engine, event, include, deadline_s)

    async def _query(
        self, engine: Engine, event: Event, include: Include, deadline_s: float
    ) -> Answer:
        answer = NO_ANSWER
        try:
            async with asyncio.timeout_at(deadline_s):
                body = await engine.inspect(event.actor.id)
                if body is None:
                    return _missing(CONTAINER_GONE, include)
                answer = _find_facts(body, event)
                if include != FACTS_ONLY:
                    async for included in _find_included(engine, event, body, include):
                        answer = replace(answer, included=included)
        except ENGINE_ERRORS as error:
            return _missing(self._describe_failure(error), include, answer)
        return answer

    def _describe_failure(self, error: BaseException) -> str:
        match error:
            case TimeoutError():
                return f"the engine did not answer in {self._timeout_s:g} s"
            # 409: moby's answer for a container that is being removed
            case EngineRefused(status=404 | 409):
                return CONTAINER_GONE
            case EngineRefused(status=403):
                return "a socket proxy forbids it (403)"
            case EngineRefused(status=501):
                return "its log driver cannot be read"
            case _:
                return f"the engine could not be asked: {describe_error(error)}"


def _missing(why: str, include: Include, answer: Answer = NO_ANSWER) -> Answer:
    """Return an answer that says why it has nothing more, if the route includes something."""
    if include == FACTS_ONLY:
        return answer
    return replace(answer, included=replace(answer.included or Included(), missing=why))


def _find_facts(body: bytes, event: Event) -> Answer:
    """Return what an inspection shows of the container's policy and limits.

    If it has started again since the event, how it is now is not how it was after the event.
    """
    seen = parse_inspection(body)
    if seen is None:
        return NO_ANSWER
    is_that_end = (seen.started_ns or 0) <= event.time_ns
    is_down = not seen.is_running and not seen.is_restarting and is_that_end
    return Answer(facts=seen.facts, is_final=is_down and seen.facts.is_exhausted)


async def _find_included(
    engine: Engine, event: Event, body: bytes, include: Include
) -> AsyncIterator[Included]:
    """Yield what the inspection shows of that, then the same with the last lines of the log."""
    inspected = parse_object(body)
    if inspected is None:
        yield Included(missing="the engine's answer cannot be read")
        return
    found = _from_inspection(inspected, include)
    yield found
    if include.logs:
        framed = get_path(inspected, "Config.Tty") is not True
        async for lines in _last_lines(engine, event, include.logs, framed=framed):
            yield replace(found, logs=lines)


async def _last_lines(
    engine: Engine, event: Event, max_lines: int, *, framed: bool
) -> AsyncIterator[tuple[str, ...]]:
    """Yield a container's last log lines before the event; then more of them, if some are missing.

    By the time the engine is asked, a container that ended may have started again, so that the last
    lines of its log are those of its next life. They are left out. If any were, the engine is also
    asked for the lines of a short period before the end.
    """
    until_ns = _end_of_life_ns(event)
    parse = partial(_parse_log, framed=framed, max_lines=max_lines, until_ns=until_ns)
    end = await parse(await engine.logs(event.actor.id, max_lines))
    yield end.lines
    if until_ns is None or not end.is_cut:
        return
    for period_s in PERIODS_S:
        try:
            since_ns = until_ns - int(period_s * 1e9)
            body = await engine.logs_between(event.actor.id, since_ns, until_ns)
        except AnswerTooLong:
            continue
        yield (await parse(body, keep_same_second=True)).lines
        return


def _end_of_life_ns(event: Event) -> int | None:
    """Return until when the container wrote its lines; None if the event is not about its end.

    Engines send the event of a death when they have read the output (moby, ``daemon/monitor.go``).
    The time of an inferred death is that of the process's end, before that.
    """
    if event.action not in END_ACTIONS:
        return None
    return event.time_ns + (READING_NS if event.origin is Origin.INFERRED else 0)


async def _parse_log(
    body: bytes,
    *,
    framed: bool,
    max_lines: int,
    until_ns: int | None,
    keep_same_second: bool = False,
) -> LogEnd:
    """Return what `parse_log` does, but parse a long log in a thread.

    If each frame has one byte, which the container decides, that takes a second.
    """
    parse = partial(
        parse_log,
        body,
        framed=framed,
        max_lines=max_lines,
        until_ns=until_ns,
        keep_same_second=keep_same_second,
    )
    return parse() if len(body) <= LONG_LOG_BYTES else await asyncio.to_thread(parse)


def _from_inspection(inspected: Mapping[str, object], include: Include) -> Included:
    """Return the included values that the inspection contains."""
    return Included(
        health=last_health_output(inspected) if include.health else None,
        inspect={path: inspect_field(inspected, path) for path in include.inspect},
    )
