"""Reconciliation: inspects an engine's containers to find deaths that no event reported.

Events can be lost: in a gap, in a full buffer, or in the engine itself. So the reconciler lists the
containers after a reconnect, after every gap and at the configured interval, inspects those that
may have died, and puts what it finds into the buffer as `Snapshot` items. The tracker decides what
they mean (`relay.ingest.docker.containers.tracker`); it infers an event for a death that none
reported.

A reconciliation works page by page and ends when every selected container was inspected. A
reconciler runs for as long as its connection. If the engine or a proxy refuses for good to show
containers, it stops until the next connection.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import suppress
from http import HTTPStatus

import structlog

from relay.config import ReconcileConfig
from relay.core.clock import loop_time_s
from relay.ingest.docker.buffer import (
    BATCH_BYTES,
    Connection,
    EventBuffer,
    StreamOpened,
    snapshot_bytes,
)
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine.client import EngineClient, Now
from relay.ingest.docker.engine.errors import (
    ENGINE_ERRORS,
    EngineRefused,
    EngineUnavailable,
    describe_error,
)
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.inspector import Inspector, inspect_containers
from relay.ingest.docker.engine.swarm import ServiceFailure
from relay.ingest.docker.known_containers import KnownContainers

log = structlog.get_logger()

EVENT_GRACE_S = 1.0
"""How long an event may be on its way before its absence counts as proof."""

LIST_TIMEOUT_S = 60.0
"""How long an engine may take to list its containers."""

PAGE_CONTAINERS = 200
PAGE_MAX_S = 10.0
"""A page is published after this many containers or this long, whichever comes first. That keeps
little in memory at once, and little is lost if a reconciliation fails halfway."""

MIN_INTERVAL_S = 10.0
"""The least time between the starts of two reconciliations. Otherwise an engine whose events keep
getting lost would be busy with little else than inspections."""

MIN_INTERVAL_RECONNECTED_S = 1.0
"""The same after a reconnect: deaths in between should be reported soon, but streams can flap."""

RETRY_INTERVAL_S = 60.0
"""The longest time until a failed reconciliation is repeated."""

PERMANENT_REFUSALS = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
"""Answers of a proxy, or of something other than an engine, that will never list containers."""


class Reconciler:
    """Puts snapshots of one engine's containers into the buffer."""

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
        """When the last reconciliation started, by the loop's clock."""
        self._failing_services: tuple[ServiceFailure, ...] = ()
        self._warned: set[str] = set()
        """The log events of the current failures: each failure is logged once."""
        self._log = log.bind(engine=engine)

    async def run(self, client: EngineClient, opening: Awaitable[StreamOpened]) -> None:
        """Reconcile after the reconnect, after every gap and periodically, until cancelled.

        The inspector may use the client before the stream is open: the first events arrive with the
        stream's first bytes, and their containers may have to be inspected.
        """
        every_s = self._config.every.total_seconds() or None
        with self._inspector.use(client):
            opened = await opening
            await opened.committed.wait()
            if self._config.on_reconnect:
                await self._wait_min_interval(MIN_INTERVAL_RECONNECTED_S)
            else:
                await asyncio.sleep(EVENT_GRACE_S)  # events of the history may be on their way
                self._known.reconciled()
                await self._wait_for_next(every_s)
            retry_s = min(every_s or RETRY_INTERVAL_S, RETRY_INTERVAL_S)
            while True:
                error = await self._try_reconcile(client, opened.connection)
                is_refused = isinstance(error, EngineRefused) and error.status in PERMANENT_REFUSALS
                if is_refused or error is None:
                    self._known.reconciled()
                if is_refused:
                    await asyncio.Event().wait()  # until cancelled: the inspector keeps its client
                await self._wait_for_next(every_s if error is None else retry_s)

    async def _wait_for_next(self, timeout_s: float | None) -> None:
        """Wait for a gap or the timeout, and then until the next reconciliation may start."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._buffer.gap_found.wait()
        await self._wait_min_interval(MIN_INTERVAL_S)

    async def _wait_min_interval(self, min_interval_s: float) -> None:
        await asyncio.sleep(self._started_s + min_interval_s - loop_time_s())

    async def _try_reconcile(
        self, client: EngineClient, connection: Connection
    ) -> BaseException | None:
        """Reconcile once. Returns the error if it failed, or failed in part."""
        self._started_s = loop_time_s()
        self._buffer.gap_found.clear()  # this reconciliation covers every gap until now
        try:
            error = await self._reconcile(client, connection)
        except ENGINE_ERRORS as failure:
            meaning = "deaths without an event are not found"
            self._warn_once("reconcile.unavailable", failure, meaning)
            return failure
        self._warned.discard("reconcile.unavailable")
        return error

    def _warn_once(self, event: str, failure: BaseException, meaning: str) -> None:
        if event not in self._warned:
            self._warned.add(event)
            self._log.warning(event, reason=describe_error(failure), meaning=meaning)

    async def _reconcile(self, client: EngineClient, connection: Connection) -> Exception | None:
        """Inspect the selected containers page by page; the last page completes the snapshot.

        Returns an error if the engine failed to show some of them, and then no page is complete.
        Raises one of `ENGINE_ERRORS` if it showed none.
        """
        taken_ns = self._now() + connection.ahead_ns
        thorough = self._known.may_have_missed_deaths
        services = await self._list_failing_services(client)
        listed, missing = await self._list_containers(client, services)
        remaining = deque(self._known.select_for_inspection(listed, thorough=thorough))
        has_seen_none, last_error = True, None
        while True:
            page = _Page(remaining)
            error = await inspect_containers(client, page.next_ids(), page.add, connection.engine)
            has_seen_none = has_seen_none and not page.snapshots and error is not None
            last_error = error or last_error
            await self._publish(
                Snapshot(
                    connection.engine,
                    connection.host,
                    taken_ns,
                    tuple(page.snapshots),
                    missing,
                    services,
                    is_complete=thorough and not remaining and last_error is None,
                )
            )
            if error is not None and has_seen_none:
                raise EngineUnavailable(describe_error(error))
            if not remaining:
                return last_error and EngineUnavailable(describe_error(last_error))
            missing, services = frozenset(), ()

    async def _publish(self, snapshot: Snapshot) -> None:
        """Put the snapshot into the buffer, behind events that may be on their way.

        Returns once it is committed: while the store is stuck, snapshots would pile up.
        """
        if self._known.has_unreported(snapshot.containers):
            await asyncio.sleep(EVENT_GRACE_S)
        self._buffer.put(snapshot)
        await snapshot.committed.wait()

    async def _list_failing_services(self, client: EngineClient) -> tuple[ServiceFailure, ...]:
        """Return the Swarm's services that cannot start; without an answer, those of the last."""
        try:
            async with asyncio.timeout(LIST_TIMEOUT_S):
                self._failing_services = tuple(await client.list_failing_services())
        except ENGINE_ERRORS as failure:
            meaning = "services of the Swarm that cannot start are not found"
            self._warn_once("services.unavailable", failure, meaning)
        else:
            self._warned.discard("services.unavailable")
        return self._failing_services

    async def _list_containers(
        self, client: EngineClient, services: Iterable[ServiceFailure]
    ) -> tuple[dict[str, str], frozenset[str]]:
        """List the containers: the state of each by id, and the ids of known ones that are gone.

        A container counts as gone only if a second list, a moment later, lacks it too; a failing
        service if it is not among ``services``.
        """
        async with asyncio.timeout(LIST_TIMEOUT_S):
            listed = await client.list_containers()
        missing = self._known.find_missing({*listed, *(service.id for service in services)})
        if missing:
            await asyncio.sleep(EVENT_GRACE_S)
            async with asyncio.timeout(LIST_TIMEOUT_S):
                missing -= (await client.list_containers()).keys()
        return listed, missing


class _Page:
    """The snapshots of some of the containers that remain to be inspected."""

    def __init__(self, remaining: deque[str]) -> None:
        self._remaining = remaining
        self._deadline_s = loop_time_s() + PAGE_MAX_S
        self._size_bytes = 0
        self.snapshots: list[ContainerSnapshot] = []

    def next_ids(self) -> Iterator[str]:
        """Take ids from those that remain, until the page is full or its time is over."""
        for _ in range(PAGE_CONTAINERS):
            if not self._remaining:
                return
            yield self._remaining.popleft()
            if self._size_bytes >= BATCH_BYTES or loop_time_s() >= self._deadline_s:
                return

    def add(self, _: str, snapshot: ContainerSnapshot) -> None:
        """Add the snapshot of one container."""
        self.snapshots.append(snapshot)
        self._size_bytes += snapshot_bytes(snapshot)
