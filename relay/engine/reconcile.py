"""Looks at an engine's containers beside its stream, for what no event tells."""

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping
from typing import Protocol

import structlog

from relay.config import ReconcileConfig
from relay.engine.client import FAILURES, EngineClient, EngineRefused, Now, words
from relay.engine.contact import Contact, inspect
from relay.engine.inbox import Connection, Inbox, Opened
from relay.engine.inference import Look
from relay.engine.inspection import Sighting

log = structlog.get_logger()

GRACE_S = 1.0
"""How long an event may be on its way before its absence is taken for proof."""

LOOK_S = 60.0
"""How long an engine may take to tell of all its containers."""


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
        self._complained = False
        self._log = log.bind(engine=engine)

    async def run(self, client: EngineClient, opening: Awaitable[Opened]) -> None:
        """Look after a reconnect, after every loss, and from time to time, until cancelled.

        Events can be asked about even before the stream is open: they come with its first bytes.
        """
        with self._contact.over(client):
            opened = await opening
            await opened.digested.wait()
            if not self._config.on_reconnect:
                await self._pause()
            while await self._looked(client, opened.connection):
                await self._pause()
            await asyncio.Event().wait()

    async def _pause(self) -> None:
        every_s = self._config.every.total_seconds()
        try:
            async with asyncio.timeout(every_s or None):
                await self._inbox.lossy.wait()
        except TimeoutError:
            return
        self._inbox.lossy.clear()

    async def _looked(self, client: EngineClient, connection: Connection) -> bool:
        """Look once. Whether it is worth trying again over this connection."""
        try:
            async with asyncio.timeout(LOOK_S):
                look = await self._look(client, connection)
        except FAILURES as failure:
            off = isinstance(failure, EngineRefused) and failure.status < 500
            self._complain("deaths without an event are not found", failure)
            return not off
        self._complained = False
        self._inbox.put(look)
        await look.digested.wait()  # while the store takes nothing, looks would heap up
        return True

    async def _look(self, client: EngineClient, connection: Connection) -> Look:
        taken_ns = self._now() + connection.ahead_ns
        thorough = self._knowledge.in_doubt
        listed = await client.containers()
        missing = self._knowledge.missing(listed)
        seen: dict[str, Sighting] = {}
        await inspect(client, self._knowledge.to_inspect(listed, thorough=thorough), seen)
        if missing or self._knowledge.untold(seen.values()):
            # Events about them can be on their way. They come before this look is taken in.
            await asyncio.sleep(GRACE_S)
            missing -= (await client.containers()).keys()
        return Look(
            connection.engine, connection.host, taken_ns, tuple(seen.values()), missing, thorough
        )

    def _complain(self, meaning: str, failure: BaseException) -> None:
        """Say that containers cannot be compared: once, not once per try."""
        if not self._complained:
            self._complained = True
            self._log.warning("reconcile.unavailable", reason=words(failure), meaning=meaning)
