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
"""The webhooks that get events."""

INCIDENT_HOOK = "hook-d"
"""The hook that is notified of incidents."""

REFUSED_SHARE = 0.2
"""The share of messages about incidents that are refused at every attempt, so that they become dead
letters."""


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
    refused: bool = False
    """Whether it was answered with status 400, for good."""

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
    """Receives the requests to all `HOOKS`, and to `INCIDENT_HOOK`."""

    def __init__(
        self,
        seed: str,
        failure_share: float,
        changes: ChangeSignal,
        *,
        refuses_first: bool | None = None,
    ) -> None:
        """``refuses_first`` says whether the first message about incidents is refused.

        None: that depends on the seed, as for all others.
        """
        self.arrivals: list[Arrival] = []
        """All of them, in order."""
        self._seed = seed
        self._failure_share = failure_share
        self._changes = changes
        self._accepted: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._refuses_first = refuses_first
        self._refusals: dict[str, bool] = {}
        """Whether a message about incidents is refused, by its id."""
        self.opened: set[str] = set()
        """The containers whose problem was reported in a message that was answered for good."""
        self.ended: set[str] = set()
        """Those whose problem's end was reported in one."""
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
        if destination == INCIDENT_HOOK:
            return await self._receive_incidents(request)
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

    async def _receive_incidents(self, request: web.Request) -> web.Response:
        body, id_ = await request.read(), request.headers["webhook-id"]
        document = msgspec.json.decode(body)
        accepted = (
            self._make_rng(INCIDENT_HOOK, document["events"][0], id_).random()
            >= self._failure_share
        )
        refused = accepted and self._refuses(id_, document)
        accepted = accepted and not refused
        lifetime = int(request.headers["lifetime"])
        self.arrivals.append(Arrival(INCIDENT_HOOK, id_, lifetime, body, accepted, refused))
        if accepted or refused:
            for incident in document["incidents"]:
                (self.opened if incident["count"] else set()).add(incident["subject"])
                (self.ended if incident["ended_at"] else set()).add(incident["subject"])
        self._changes.notify()
        return web.Response(status=200 if accepted else 400 if refused else 500)

    def _refuses(self, id_: str, document: dict[str, Any]) -> bool:
        """Whether a message is refused: the same at every attempt, so that a lost answer is too."""
        if id_ not in self._refusals:
            subjects = sorted(each["subject"] for each in document["incidents"])
            rng = random.Random(f"{self._seed} refusal {document['reason']} {subjects}")
            decided = None if self._refusals else self._refuses_first
            self._refusals[id_] = rng.random() < REFUSED_SHARE if decided is None else decided
        return self._refusals[id_]

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
