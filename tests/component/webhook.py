"""A webhook on loopback that remembers what came."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.component.wait import ChangeSignal
from tests.support.loopback import on_loopback


@dataclass(frozen=True, slots=True)
class ReceivedNotification:
    """One notification that came."""

    id: str
    event: dict[str, Any]

    @property
    def summary(self) -> str:
        """The container that the event tells of, or what happened to relay."""
        own = self.event["type"] == "relay"
        return str(self.event["action"] if own else self.event["actor"]["name"])


class Webhook:
    """Answers at once, unless it was told to hold its answers back."""

    def __init__(self) -> None:
        self.received: list[ReceivedNotification] = []
        """Every notification, in order, answered or not."""
        self.request_sizes: list[int] = []
        """How many of them were in each request."""
        self.status = 204
        """What it answers, with these headers."""
        self.headers: dict[str, str] = {}
        self._changed = ChangeSignal()
        self._released = asyncio.Event()
        self._released.set()
        self._held_summaries: tuple[str, ...] = ()

    def hold(self, *whats: str) -> None:
        """Answer nothing from now on, or nothing that tells of these."""
        self._held_summaries = whats
        self._released.clear()

    def release(self) -> None:
        """Answer all that waits, and what comes from now on."""
        self._released.set()

    async def wait_for(self, condition: Callable[[list[str]], bool]) -> None:
        """Return once it holds of what was taken."""
        await self._changed.wait_for(lambda: condition(self.summaries()))

    def summaries(self) -> list[str]:
        """What the requests tell of, in order."""
        return [taken.summary for taken in self.received]

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
        came = [ReceivedNotification(each["id"], *each["events"]) for each in documents]
        self.received += came
        self.request_sizes.append(len(came))
        self._changed.notify()
        if not self._held_summaries or any(taken.summary in self._held_summaries for taken in came):
            await self._released.wait()
        return web.Response(status=self.status, headers=self.headers)
