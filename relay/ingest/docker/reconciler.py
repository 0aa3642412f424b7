"""Looks at an engine's containers beside its stream, for what no event tells."""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Protocol

import structlog

from relay.config import ReconcileConfig
from relay.ingest.docker.buffer import (
    BATCH_BYTES,
    Connection,
    EventBuffer,
    StreamOpened,
    snapshot_bytes,
)
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine.client import (
    ENGINE_ERRORS,
    EngineClient,
    EngineRefused,
    EngineUnavailable,
    Now,
    describe_error,
)
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.inspector import Inspector, inspect_containers

log = structlog.get_logger()

EVENT_GRACE_S = 1.0
"""How long an event may be on its way before its absence is taken for proof."""

LIST_TIMEOUT_S = 60.0
"""How long an engine may take to list its containers."""

PAGE_CONTAINERS = 200
PAGE_MAX_S = 10.0
"""After how many containers, and after how long, what was seen of them is handed on: nothing large
is in memory at once, and nothing is lost where a look breaks off."""

MIN_INTERVAL_S = 10.0
"""How long after the begin of a look the next may begin: where losses do not end, looks at all
containers would be most of what the engine does."""

MIN_INTERVAL_RECONNECTED_S = 1.0
"""The same after a reconnect: deaths meanwhile are to be told at once, but streams can flap."""

RETRY_INTERVAL_S = 60.0
"""How long after a look that failed the next one begins at the latest."""

PERMANENT_REFUSALS = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
"""How a proxy, or what calls itself an engine, answers that will never show its containers."""


class KnownContainers(Protocol):
    """What the one who takes the events in knows of the containers."""

    @property
    def may_have_missed_deaths(self) -> bool:
        """Whether any container may have died unheard, not only one that was seen running."""
        ...

    def select_for_inspection(self, listed: Mapping[str, str], *, thorough: bool) -> list[str]:
        """Which of the containers that the engine lists, with their states, need a look."""
        ...

    def find_missing(self, listed: Collection[str]) -> frozenset[str]:
        """The known ones that the engine does not list."""
        ...

    def has_unreported(self, snapshots: Iterable[ContainerSnapshot]) -> bool:
        """Whether one of these died and no event has told so."""
        ...


class Reconciler:
    """Puts looks at one engine's containers into the inbox; what they mean is decided there."""

    def __init__(
        self,
        engine: str,
        config: ReconcileConfig,
        buffer: EventBuffer,
        known: KnownContainers,
        inspector: Inspector,
        now: Now,
    ) -> None:
        self._config = config
        self._buffer = buffer
        self._known = known
        self._inspector = inspector
        self._now = now
        self._started_s = -math.inf
        self._has_warned = False
        self._log = log.bind(engine=engine)

    async def run(self, client: EngineClient, opening: Awaitable[StreamOpened]) -> None:
        """Look after a reconnect, after every loss, and from time to time, until cancelled.

        Events can be asked about even before the stream is open: they come with its first bytes.
        """
        every_s = self._config.every.total_seconds() or None
        with self._inspector.use(client):
            opened = await opening
            await opened.committed.wait()
            if self._config.on_reconnect:
                await self._wait_min_interval(MIN_INTERVAL_RECONNECTED_S)
            else:
                await self._wait_for_next(every_s)
            while not _is_permanent(
                failure := await self._try_reconcile(client, opened.connection)
            ):
                await self._wait_for_next(
                    every_s
                    if failure is None
                    else min(every_s or RETRY_INTERVAL_S, RETRY_INTERVAL_S)
                )
            await asyncio.Event().wait()

    async def _wait_for_next(self, timeout_s: float | None) -> None:
        """Return after a loss, or when the time is over; not before the next look may begin."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._buffer.gap_found.wait()
        await self._wait_min_interval(MIN_INTERVAL_S)

    async def _wait_min_interval(self, min_interval_s: float) -> None:
        await asyncio.sleep(self._started_s + min_interval_s - _loop_time_s())

    async def _try_reconcile(
        self, client: EngineClient, connection: Connection
    ) -> BaseException | None:
        """Look once; what it failed with, if it did."""
        self._started_s = _loop_time_s()
        self._buffer.gap_found.clear()  # what was lost until now is found by this look
        try:
            failure = await self._reconcile(client, connection)
        except ENGINE_ERRORS as failed:
            self._warn_unavailable("deaths without an event are not found", failed)
            return failed
        self._has_warned = False
        return failure

    async def _reconcile(self, client: EngineClient, connection: Connection) -> Exception | None:
        """Look at all containers, slice by slice; only with the last one all were looked at.

        Returns why one that the engine failed to show could not be. Raises one of `FAILURES` if
        none could.
        """
        taken_ns = self._now() + connection.ahead_ns
        thorough = self._known.may_have_missed_deaths
        listed, missing = await self._list_containers(client)
        left = deque(self._known.select_for_inspection(listed, thorough=thorough))
        blind, failed = True, None
        while True:
            part = _Page(left)
            failure = await inspect_containers(client, part.next_ids(), part.add)
            blind = blind and not part.snapshots and failure is not None
            failed = failure or failed
            await self._publish(
                Snapshot(
                    connection.engine,
                    connection.host,
                    taken_ns,
                    tuple(part.snapshots),
                    missing,
                    is_complete=thorough and not left and failed is None,
                )
            )
            if failure is not None and blind:
                raise EngineUnavailable(describe_error(failure))
            if not left:
                return failed and EngineUnavailable(describe_error(failed))
            missing = frozenset()

    async def _publish(self, snapshot: Snapshot) -> None:
        """Put it into the inbox, behind the events that can be on their way."""
        if self._known.has_unreported(snapshot.containers):
            await asyncio.sleep(EVENT_GRACE_S)
        self._buffer.put(snapshot)
        await snapshot.committed.wait()  # while the store takes nothing, looks would heap up

    async def _list_containers(self, client: EngineClient) -> tuple[dict[str, str], frozenset[str]]:
        """The states of the containers that there are, and the known ones that are gone."""
        async with asyncio.timeout(LIST_TIMEOUT_S):
            listed = await client.list_containers()
        missing = self._known.find_missing(listed)
        if missing:
            await asyncio.sleep(EVENT_GRACE_S)
            async with asyncio.timeout(LIST_TIMEOUT_S):
                missing -= (await client.list_containers()).keys()
        return listed, missing

    def _warn_unavailable(self, meaning: str, failure: BaseException) -> None:
        """Say that containers cannot be compared: once, not once per try."""
        if not self._has_warned:
            self._has_warned = True
            self._log.warning(
                "reconcile.unavailable", reason=describe_error(failure), meaning=meaning
            )


class _Page:
    """What is seen of some of the containers that are left to be looked at."""

    def __init__(self, left: deque[str]) -> None:
        self._remaining = left
        self._deadline_s = _loop_time_s() + PAGE_MAX_S
        self._size_bytes = 0
        self.snapshots: list[ContainerSnapshot] = []

    def next_ids(self) -> Iterator[str]:
        """The next ones, taken from those left, until it is full or its time is over."""
        for _ in range(PAGE_CONTAINERS):
            if not self._remaining:
                return
            yield self._remaining.popleft()
            if self._size_bytes >= BATCH_BYTES or _loop_time_s() >= self._deadline_s:
                return

    def add(self, _: str, seen: ContainerSnapshot) -> None:
        """One of them was seen."""
        self.snapshots.append(seen)
        self._size_bytes += snapshot_bytes(seen)


def _is_permanent(failure: BaseException | None) -> bool:
    return isinstance(failure, EngineRefused) and failure.status in PERMANENT_REFUSALS


def _loop_time_s() -> float:
    return asyncio.get_running_loop().time()
