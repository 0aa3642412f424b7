"""The demo's webhook receiver on loopback. It refuses its first request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from relay.cli.demo.engine import Narrate


class Receiver:
    """Accepts notifications, and counts each by its id."""

    def __init__(self, expected: int, narrate: Narrate) -> None:
        self._expected = expected
        self._narrate = narrate
        self._refused: set[str] = set()
        self.accepted: dict[str, int] = {}
        """How often each id was accepted."""
        self.attempts = 0
        self.complete = asyncio.Event()
        """Set when all expected notifications were accepted."""

    async def _receive(self, request: web.Request) -> web.Response:
        self.attempts += 1
        id_ = request.headers["webhook-id"]
        notification = await request.json()
        (event,) = notification["events"]
        what = f"{id_[:12]}… {notification['route']}: {event['actor']['name']} ({event['origin']})"
        if not self._refused:
            self._refused.add(id_)
            self._narrate("receiver", f"{what}: answers 503, on purpose")
            return web.Response(status=503)
        again = ", the same id again" if id_ in self._refused else ""
        self._narrate("receiver", f"{what}: accepts it{again}")
        self.accepted[id_] = self.accepted.get(id_, 0) + 1
        if len(self.accepted) >= self._expected:
            self.complete.set()
        return web.Response(status=204)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve on a free port of loopback, and give the webhook's URL."""
        app = web.Application()
        app.router.add_post("/hook", self._receive)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}/hook"
        finally:
            await runner.cleanup()
