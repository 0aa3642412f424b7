"""Webhooks on loopback that fail at times, as a seed has it."""

import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from tests.component.wait import ChangeSignal

DESTINATIONS = ("hook-a", "hook-b")
"""Those that get everything."""

BATCHED = "hook-b"
"""The one of them that gets up to `BATCH_SIZE` at once."""

BATCH_SIZE = 4

INCLUDE_HOOK = "hook-c"
"""The one that gets what some containers do, with more than the events."""

HOOKS = (*DESTINATIONS, INCLUDE_HOOK)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One notification that came."""

    destination: str
    id: str
    """The notification's."""
    lifetime: int
    """Which life of relay sent it."""
    body: bytes
    accepted: bool
    """Whether the request was answered by 200."""

    @property
    def document(self) -> dict[str, Any]:
        """All that it says."""
        document = msgspec.json.decode(self.body)
        assert isinstance(document, dict)
        return document

    @property
    def event(self) -> dict[str, Any]:
        """What it tells of."""
        (event,) = self.document["events"]
        assert isinstance(event, dict)
        return event


class Receiver:
    """Takes what comes to any of `HOOKS`."""

    def __init__(self, seed: str, failing: float, bell: ChangeSignal) -> None:
        self.arrivals: list[Arrival] = []
        """In order."""
        self._seed = seed
        self._failure_share = failing
        self._bell = bell
        self._accepted: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._attempts: Counter[tuple[str, str]] = Counter()

    def count_accepted(self, destination: str, kind: str) -> int:
        """How many notifications of events of this type it has accepted, each counted once."""
        return len(self._accepted[destination, kind])

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port; gives the URL before the destination's name."""
        app = web.Application()
        app.router.add_post("/{destination}", self._receive)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}"
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        destination = request.match_info["destination"]
        life, came = int(request.headers["life"]), await _read_notifications(request)
        (id_, event, _), *_ = came
        chance = self._make_rng(destination, event, id_)
        accepted = chance.random() >= self._failure_share
        for id_, event, body in came:
            self.arrivals.append(Arrival(destination, id_, life, body, accepted))
            if accepted:
                self._accepted[destination, event["type"]].add(id_)
        if not accepted and chance.random() < 0.5 and request.transport is not None:
            request.transport.abort()
        self._bell.notify()
        return web.Response(status=200 if accepted else 500)

    def _make_rng(self, destination: str, event: dict[str, Any], id_: str) -> random.Random:
        """The same for the same try of the same thing: by name, because ids are of their time."""
        self._attempts[destination, id_] += 1
        what = (event["action"], event["actor"]["name"], self._attempts[destination, id_])
        return random.Random(f"{self._seed} {destination} {what}")


async def _read_notifications(request: web.Request) -> list[tuple[str, dict[str, Any], bytes]]:
    """Each notification that came: its id, its event, and its document to the byte."""
    body, id_ = await request.read(), request.headers["webhook-id"]
    if request.match_info["destination"] != BATCHED:
        return [(id_, msgspec.json.decode(body)["events"][0], body)]
    raw = msgspec.json.decode(body, type=list[msgspec.Raw])
    documents = [(msgspec.json.decode(each), bytes(each)) for each in raw]
    return [(document["id"], document["events"][0], each) for document, each in documents]
