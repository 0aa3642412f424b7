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
from relay.ingest.docker.buffer import BATCH_SIZE, Connection, Inbox, Opened, sighting_cost
from relay.ingest.docker.containers.inference import Look
from relay.ingest.docker.engine.client import (
    FAILURES,
    EngineClient,
    EngineRefused,
    EngineUnavailable,
    Now,
    words,
)
from relay.ingest.docker.engine.inspection import Sighting
from relay.ingest.docker.engine.inspector import Contact, inspect

log = structlog.get_logger()

GRACE_S = 1.0
"""How long an event may be on its way before its absence is taken for proof."""

LIST_S = 60.0
"""How long an engine may take to list its containers."""

SLICE = 200
SLICE_S = 10.0
"""After how many containers, and after how long, what was seen of them is handed on: nothing large
is in memory at once, and nothing is lost where a look breaks off."""

APART_S = 10.0
"""How long after the begin of a look the next may begin: where losses do not end, looks at all
containers would be most of what the engine does."""

APART_RECONNECTED_S = 1.0
"""The same after a reconnect: deaths meanwhile are to be told at once, but streams can flap."""

AGAIN_S = 60.0
"""How long after a look that failed the next one begins at the latest."""

CLOSED = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_IMPLEMENTED,
    }
)
"""How a proxy, or what calls itself an engine, answers that will never show its containers."""


class Knowledge(Protocol):
    """What the one who takes the events in knows of the containers."""

    @property
    def in_doubt(self) -> bool:
        """Whether any container may have died unheard, not only one that was seen running."""
        ...

    def to_inspect(self, listed: Mapping[str, str], *, thorough: bool) -> list[str]:
        """Which of the containers that the engine lists, with their states, need a look."""
        ...

    def missing(self, listed: Collection[str]) -> frozenset[str]:
        """The known ones that the engine does not list."""
        ...

    def untold(self, sightings: Iterable[Sighting]) -> bool:
        """Whether one of these died and no event has told so."""
        ...


class Reconciler:
    """Puts looks at one engine's containers into the inbox; what they mean is decided there."""

    def __init__(
        self,
        engine: str,
        config: ReconcileConfig,
        inbox: Inbox,
        knowledge: Knowledge,
        contact: Contact,
        now: Now,
    ) -> None:
        self._config = config
        self._inbox = inbox
        self._knowledge = knowledge
        self._contact = contact
        self._now = now
        self._begun_s = -math.inf
        self._complained = False
        self._log = log.bind(engine=engine)

    async def run(self, client: EngineClient, opening: Awaitable[Opened]) -> None:
        """Look after a reconnect, after every loss, and from time to time, until cancelled.

        Events can be asked about even before the stream is open: they come with its first bytes.
        """
        every_s = self._config.every.total_seconds() or None
        with self._contact.over(client):
            opened = await opening
            await opened.digested.wait()
            if self._config.on_reconnect:
                await self._rest(APART_RECONNECTED_S)
            else:
                await self._pause(every_s)
            while not _is_closed(failure := await self._looked(client, opened.connection)):
                await self._pause(every_s if failure is None else min(every_s or AGAIN_S, AGAIN_S))
            await asyncio.Event().wait()

    async def _pause(self, most_s: float | None) -> None:
        """Return after a loss, or when the time is over; not before the next look may begin."""
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._inbox.lossy.wait()
        await self._rest(APART_S)

    async def _rest(self, apart_s: float) -> None:
        await asyncio.sleep(self._begun_s + apart_s - _clock_s())

    async def _looked(self, client: EngineClient, connection: Connection) -> BaseException | None:
        """Look once; what it failed with, if it did."""
        self._begun_s = _clock_s()
        self._inbox.lossy.clear()  # what was lost until now is found by this look
        try:
            failure = await self._look(client, connection)
        except FAILURES as failed:
            self._complain("deaths without an event are not found", failed)
            return failed
        self._complained = False
        return failure

    async def _look(self, client: EngineClient, connection: Connection) -> Exception | None:
        """Look at all containers, slice by slice; only with the last one all were looked at.

        Returns why one that the engine failed to show could not be. Raises one of `FAILURES` if
        none could.
        """
        taken_ns = self._now() + connection.ahead_ns
        thorough = self._knowledge.in_doubt
        listed, missing = await self._listed(client)
        left = deque(self._knowledge.to_inspect(listed, thorough=thorough))
        blind, failed = True, None
        while True:
            part = _Slice(left)
            failure = await inspect(client, part.wanted(), part.add)
            blind = blind and not part.seen and failure is not None
            failed = failure or failed
            await self._hand_on(
                Look(
                    connection.engine,
                    connection.host,
                    taken_ns,
                    tuple(part.seen),
                    missing,
                    thorough=thorough and not left and failed is None,
                )
            )
            if failure is not None and blind:
                raise EngineUnavailable(words(failure))
            if not left:
                return failed and EngineUnavailable(words(failed))
            missing = frozenset()

    async def _hand_on(self, look: Look) -> None:
        """Put it into the inbox, behind the events that can be on their way."""
        if self._knowledge.untold(look.sightings):
            await asyncio.sleep(GRACE_S)
        self._inbox.put(look)
        await look.digested.wait()  # while the store takes nothing, looks would heap up

    async def _listed(self, client: EngineClient) -> tuple[dict[str, str], frozenset[str]]:
        """The states of the containers that there are, and the known ones that are gone."""
        async with asyncio.timeout(LIST_S):
            listed = await client.containers()
        missing = self._knowledge.missing(listed)
        if missing:
            await asyncio.sleep(GRACE_S)
            async with asyncio.timeout(LIST_S):
                missing -= (await client.containers()).keys()
        return listed, missing

    def _complain(self, meaning: str, failure: BaseException) -> None:
        """Say that containers cannot be compared: once, not once per try."""
        if not self._complained:
            self._complained = True
            self._log.warning("reconcile.unavailable", reason=words(failure), meaning=meaning)


class _Slice:
    """What is seen of some of the containers that are left to be looked at."""

    def __init__(self, left: deque[str]) -> None:
        self._left = left
        self._until_s = _clock_s() + SLICE_S
        self._size = 0
        self.seen: list[Sighting] = []

    def wanted(self) -> Iterator[str]:
        """The next ones, taken from those left, until it is full or its time is over."""
        for _ in range(SLICE):
            if not self._left:
                return
            yield self._left.popleft()
            if self._size >= BATCH_SIZE or _clock_s() >= self._until_s:
                return

    def add(self, _: str, seen: Sighting) -> None:
        """One of them was seen."""
        self.seen.append(seen)
        self._size += sighting_cost(seen)


def _is_closed(failure: BaseException | None) -> bool:
    return isinstance(failure, EngineRefused) and failure.status in CLOSED


def _clock_s() -> float:
    return asyncio.get_running_loop().time()
