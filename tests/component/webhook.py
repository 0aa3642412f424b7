"""A webhook on loopback that remembers what came."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.component.wait import Bell
from tests.support.loopback import on_loopback


@dataclass(frozen=True, slots=True)
class Taken:
    """One notification that came."""

    id: str
    event: dict[str, Any]

    @property
    def what(self) -> str:
        """The container that the event tells of, or what happened to relay."""
        own = self.event["type"] == "relay"
        return str(self.event["action"] if own else self.event["actor"]["name"])


class Webhook:
    """Answers at once, unless it was told to hold its answers back."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        """Every notification, in order, answered or not."""
        self.counts: list[int] = []
        """How many of them were in each request."""
        self.status = 204
        """What it answers, with these headers."""
        self.headers: dict[str, str] = {}
        self._bell = Bell()
        self._free = asyncio.Event()
        self._free.set()
        self._held: tuple[str, ...] = ()

    def hold(self, *whats: str) -> None:
        """Answer nothing from now on, or nothing that tells of these."""
        self._held = whats
        self._free.clear()

    def release(self) -> None:
        """Answer all that waits, and what comes from now on."""
        self._free.set()

    async def wait_for(self, holds: Callable[[list[str]], bool]) -> None:
        """Return once it holds of what was taken."""
        await self._bell.wait_for(lambda: holds(self.whats()))

    def whats(self) -> list[str]:
        """What the requests tell of, in order."""
        return [taken.what for taken in self.taken]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port; gives the URL."""
        app = web.Application()
        app.router.add_post("/hook", self._hook)
        async with on_loopback(app) as url:
            try:
                yield f"{url}/hook"
            finally:
                self.release()

    async def _hook(self, request: web.Request) -> web.Response:
        body = await request.json()
        documents = body if isinstance(body, list) else [body]
        came = [Taken(each["id"], *each["events"]) for each in documents]
        self.taken += came
        self.counts.append(len(came))
        self._bell.ring()
        if not self._held or any(taken.what in self._held for taken in came):
            await self._free.wait()
        return web.Response(status=self.status, headers=self.headers)
