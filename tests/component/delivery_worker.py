"""A lane over a real store, a destination that answers as told, and time that a test moves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from relay.config import HttpDestination
from relay.core.event import Actor, Event
from relay.core.exchange import Request, Response
from relay.core.notification import Notification, notify
from relay.delivery.client import Channel
from relay.delivery.rate_limit import Valve, Valves
from relay.delivery.worker import Lane
from relay.destinations.catalog import renderer
from relay.store.outbox import SqliteOutbox
from relay.store.records import Intake
from tests.component.observer import Heard

WAIT_S = 10
Answer = Callable[[str], Response]


def told(number: int, subject: str = "a") -> Notification:
    event = Event(
        id=f"evt_{number:032x}",
        engine="here",
        host="here",
        type="container",
        action="die",
        detail=None,
        scope="local",
        time_ns=number,
        actor=Actor(subject, subject, None, {}),
    )
    return notify("route", event)


class Destination:
    """Takes what is sent, in order; holds it while closed, and answers as told."""

    def __init__(self, answer: Answer = lambda _: Response(200)) -> None:
        self.answer = answer
        self.begun: list[str] = []
        self.most_at_once = 0
        self._under_way = 0
        self.open = asyncio.Event()
        self.open.set()
        self._changed = asyncio.Condition()

    async def send(self, request: Request) -> Response:
        id_ = request.headers["webhook-id"]
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        self.begun.append(id_)
        async with self._changed:
            self._changed.notify_all()
        await self.open.wait()
        self._under_way -= 1
        return self.answer(id_)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(lambda: len(self.begun) >= count)


class Batches(Destination):
    """Takes batches, and answers by the ids of the notifications inside."""

    def __init__(self, answer: Callable[[list[str]], Response] = lambda _: Response(200)) -> None:
        super().__init__()
        self.answer_all = answer
        self.taken: list[list[str]] = []
        """The ids in each request, whatever became of it."""
        self.ids: list[str] = []
        """Those of the requests."""

    async def send(self, request: Request) -> Response:
        inside = [document["id"] for document in msgspec.json.decode(request.body)]
        self.taken.append(inside)
        self.ids.append(request.headers["webhook-id"])
        answer = await super().send(request)
        return answer if answer.status != 200 else self.answer_all(inside)

    @property
    def sizes(self) -> list[int]:
        """How many were in each request."""
        return [len(inside) for inside in self.taken]


class Clock:
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        self.now_ns = 10**18

    def __call__(self) -> int:
        return self.now_ns


def config(**parts: object) -> HttpDestination:
    return HttpDestination.model_validate({"url": "http://x", **parts})


def lane(
    outbox: SqliteOutbox,
    to: Destination,
    clock: Callable[[], int],
    name: str = "hook",
    gossip: Heard | None = None,
    valve: Valve | None = None,
    **parts: object,
) -> Lane:
    destination = config(**parts)
    render = renderer(destination, (), colour=False, failed=print)
    channel = Channel(name, destination, render, to)
    passed = valve or Valves().arrange({name: channel.destination})[name]
    return Lane(channel, outbox, passed, gossip or Heard(), clock, lambda: 0.5)


async def take_in(
    outbox: SqliteOutbox, *notifications: Notification, to: str = "hook", now_ns: int = 10**18
) -> None:
    await outbox.take_in(Intake("here", None, [(one, [to]) for one in notifications]), now_ns)


async def left(outbox: SqliteOutbox, most: int, name: str = "hook") -> None:
    """Wait until no more than so many deliveries of a destination are left."""
    async with asyncio.timeout(WAIT_S):
        while (await outbox.pending()).get(name, 0) > most:
            await asyncio.sleep(0.001)


async def empty(outbox: SqliteOutbox, name: str = "hook") -> None:
    await left(outbox, 0, name)


@asynccontextmanager
async def running(*lanes: Lane) -> AsyncIterator[None]:
    """Run lanes, and stop them afterwards."""
    async with asyncio.TaskGroup() as tasks:
        for one in lanes:
            tasks.create_task(one.run())
        yield
        for one in lanes:
            one.stop()


class Hours:
    """Moves a clock, and waits for a lane to have done all that is due by then."""

    def __init__(self, outbox: SqliteOutbox, clock: Clock, name: str = "hook") -> None:
        self._outbox = outbox
        self._clock = clock
        self._name = name

    async def settle(self) -> None:
        """Return when the lane waits: it does nothing between two questions to the store, which
        answers in the order in which it is asked."""
        news = self._outbox.news(self._name)
        news.ring()
        quiet = 0
        async with asyncio.timeout(WAIT_S):
            while quiet < 6:
                await asyncio.sleep(0)
                await self._outbox.pending()
                quiet = 0 if news.is_set() else quiet + 1

    async def move(self, seconds: float) -> None:
        """Let time pass at once."""
        self._clock.now_ns += int(seconds * 1e9)
        await self.settle()
