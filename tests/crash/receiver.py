"""Webhooks on loopback that refuse some of their requests, by the seed."""

import random
from collections import Counter, defaultdict
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from tests.component.wait import ChangeSignal
from tests.support.loopback import on_loopback

DESTINATIONS = ("hook-a", "hook-b")
"""The webhooks that get all events."""

BATCHED = "hook-b"
"""The one of them that gets up to `BATCH_SIZE` notifications at once."""

BATCH_SIZE = 4

INCLUDE_HOOK = "hook-c"
"""The one that gets the events of some containers, with included content."""

HOOKS = (*DESTINATIONS, INCLUDE_HOOK)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A notification that arrived."""

    destination: str
    id: str
    """The notification's id."""
    lifetime: int
    """The number of the lifetime of relay that sent it."""
    body: bytes
    accepted: bool
    """Whether the request was answered with status 200."""

    @property
    def document(self) -> dict[str, Any]:
        """The decoded body."""
        document = msgspec.json.decode(self.body)
        assert isinstance(document, dict)
        return document

    @property
    def event(self) -> dict[str, Any]:
        """The notification's event."""
        (event,) = self.document["events"]
        assert isinstance(event, dict)
        return event


class Receiver:
    """Receives the requests to all `HOOKS`."""

    def __init__(self, seed: str, failure_share: float, changes: ChangeSignal) -> None:
        self.arrivals: list[Arrival] = []
        """All of them, in order."""
        self._seed = seed
        self._failure_share = failure_share
        self._changes = changes
        self._accepted: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._attempts: Counter[tuple[str, str]] = Counter()

    def count_accepted(self, destination: str, kind: str) -> int:
        """Return how many different notifications about events of this type it has accepted."""
        return len(self._accepted[destination, kind])

    def serving(self) -> AbstractAsyncContextManager[str]:
        """Serve on a free port; gives the URL to which a destination's name is appended."""
        app = web.Application()
        app.router.add_post("/{destination}", self._receive)
        return on_loopback(app)

    async def _receive(self, request: web.Request) -> web.Response:
        destination = request.match_info["destination"]
        lifetime, notifications = (
            int(request.headers["lifetime"]),
            await _read_notifications(request),
        )
        (id_, event, _), *_ = notifications
        rng = self._make_rng(destination, event, id_)
        accepted = rng.random() >= self._failure_share
        for id_, event, body in notifications:
            self.arrivals.append(Arrival(destination, id_, lifetime, body, accepted))
            if accepted:
                self._accepted[destination, event["type"]].add(id_)
        if not accepted and rng.random() < 0.5 and request.transport is not None:
            request.transport.abort()
        self._changes.notify()
        return web.Response(status=200 if accepted else 500)

    def _make_rng(self, destination: str, event: dict[str, Any], id_: str) -> random.Random:
        """Return the same generator for the same attempt of the same notification in any run.

        It is identified by the event's name, because ids differ from run to run.
        """
        self._attempts[destination, id_] += 1
        identity = (event["action"], event["actor"]["name"], self._attempts[destination, id_])
        return random.Random(f"{self._seed} {destination} {identity}")


async def _read_notifications(request: web.Request) -> list[tuple[str, dict[str, Any], bytes]]:
    """Return each notification in the request: its id, its event, and its exact bytes."""
    body, id_ = await request.read(), request.headers["webhook-id"]
    if request.match_info["destination"] != BATCHED:
        return [(id_, msgspec.json.decode(body)["events"][0], body)]
    raw = msgspec.json.decode(body, type=list[msgspec.Raw])
    documents = [(msgspec.json.decode(each), bytes(each)) for each in raw]
    return [(document["id"], document["events"][0], each) for document, each in documents]
