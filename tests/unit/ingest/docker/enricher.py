"""An enricher that runs, with a fake engine and a fake store."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from relay.core.counters import EngineCounters
from relay.core.event import Actor, Event
from relay.core.notification import Notification
from relay.ingest.docker.enrichment import Engine, Enricher
from relay.store.records import CommitResult, EnrichResult, IngestCommit

if TYPE_CHECKING:
    from relay.store.outbox import Outbox

NOW_NS = 1795420000_000000000
INSPECTED = {
    "RestartCount": 3,
    "Config": {"Tty": False},
    "State": {"Health": {"Log": [{"Output": "no answer\n"}]}},
}
LOG = b"\x01\0\0\0\0\0\0\x04one\n\x02\0\0\0\0\0\0\x0atwo\nthree\n"


def crash(id_: str = "c1", type_: str = "container") -> Event:
    return Event(
        f"evt_{id_}", "here", "h", type_, "die", None, "local", 1, Actor(id_, "web", "bb", {})
    )


class FakeEngine:
    """An engine with these answers, which a test may hold back."""

    def __init__(self, inspect: Any = INSPECTED, logs: bytes | Exception = LOG) -> None:
        self._inspect = inspect
        self._logs = logs
        self.requests: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.periods: list[bytes | Exception] = []
        """The answers to `logs_between`."""

    async def inspect(self, container: str) -> bytes | None:
        self.requests.append(f"inspect {container}")
        await self.may_answer.wait()
        if isinstance(self._inspect, Exception):
            raise self._inspect
        return None if self._inspect is None else json.dumps(self._inspect).encode()

    async def logs_between(self, container: str, since_ns: int, until_ns: int) -> bytes:
        self.requests.append(f"logs {container} {until_ns - since_ns}")
        answer = self.periods.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def logs(self, container: str, lines: int) -> bytes:
        self.requests.append(f"logs {container} {lines}")
        if isinstance(self._logs, Exception):
            raise self._logs
        return self._logs


class FakeOutbox:
    """A fake of `Outbox.enrich`."""

    def __init__(self) -> None:
        self.enriched: asyncio.Queue[tuple[Sequence[int], Notification, int]] = asyncio.Queue()

    async def enrich(
        self, seqs: Sequence[int], notification: Notification, now_ns: int
    ) -> EnrichResult:
        self.enriched.put_nowait((seqs, notification, now_ns))
        return EnrichResult(dead_letters_evicted=2)


@asynccontextmanager
async def run_enricher(
    engine: Engine | None,
    outbox: FakeOutbox,
    timeout_s: float = 60.0,
    counters: EngineCounters | None = None,
) -> AsyncIterator[Enricher]:
    """Run an enricher."""
    enricher = Enricher(
        "here",
        lambda: engine,
        cast("Outbox", outbox),
        lambda: NOW_NS,
        counters or EngineCounters(),
        timeout_s,
    )
    work = asyncio.create_task(enricher.run())
    try:
        yield enricher
    finally:
        work.cancel()
        await asyncio.wait([work])
    assert work.cancelled()


def make_commit(*notifications: Notification, each: int = 1) -> tuple[IngestCommit, CommitResult]:
    """A commit with its result; each notification has this many deliveries."""
    commit = IngestCommit("here", None, [(it, ["ops"] * each) for it in notifications])
    numbers = iter(range(1, 1 + each * len(notifications)))
    return commit, CommitResult([[next(numbers) for _ in range(each)] for _ in notifications])
