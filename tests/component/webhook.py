"""A webhook on loopback that records what it receives."""

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
    """A notification that was received."""

    id: str
    event: dict[str, Any]

    @property
    def summary(self) -> str:
        """The name of the container that the event is about, or the action of relay's own event."""
        own = self.event["type"] == "relay"
        return str(self.event["action"] if own else self.event["actor"]["name"])


class Webhook:
    """Answers at once, unless `hold` was called."""

    def __init__(self) -> None:
        self.received: list[ReceivedNotification] = []
        """Every notification, in order, answered or not."""
        self.request_sizes: list[int] = []
        """How many notifications were in each request."""
        self.status = 204
        """Status of its answers, which have `headers`."""
        self.headers: dict[str, str] = {}
        self._changed = ChangeSignal()
        self._released = asyncio.Event()
        self._released.set()
        self._held_summaries: tuple[str, ...] = ()

    def hold(self, *summaries: str) -> None:
        """Answer nothing from now on, or nothing that has one of these summaries."""
        self._held_summaries = summaries
        self._released.clear()

    def release(self) -> None:
        """Send all answers that are held, and hold no more."""
        self._released.set()

    async def wait_for(self, condition: Callable[[list[str]], bool]) -> None:
        """Return once ``condition`` holds of the summaries of what was received."""
        await self._changed.wait_for(lambda: condition(self.summaries()))

    def summaries(self) -> list[str]:
        """The summary of every notification received, in order."""
        return [each.summary for each in self.received]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port; yields the URL."""
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
        notifications = [ReceivedNotification(each["id"], *each["events"]) for each in documents]
        self.received += notifications
        self.request_sizes.append(len(notifications))
        self._changed.notify()
        if not self._held_summaries or any(
            each.summary in self._held_summaries for each in notifications
        ):
            await self._released.wait()
        return web.Response(status=self.status, headers=self.headers)
