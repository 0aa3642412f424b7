"""A lane over a real store, a destination that answers as told, and time that a test moves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from relay.config import HttpDestination
from relay.core.event import Actor, Event
from relay.core.exchange import Request, Response
from relay.core.notification import Notification, build_notification
from relay.delivery.client import DestinationClient
from relay.delivery.rate_limit import RateLimiter, RateLimiters
from relay.delivery.worker import DeliveryWorker
from relay.destinations.catalog import build_renderer
from relay.store.outbox import Outbox
from relay.store.records import IngestCommit
from tests.component.observer import RecordingObserver

WAIT_S = 10
Answer = Callable[[str], Response]


def sample_notification(number: int, subject: str = "a") -> Notification:
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
    return build_notification("route", event)


class ScriptedDestination:
    """Takes what is sent, in order; holds it while closed, and answers as told."""

    def __init__(self, answer: Answer = lambda _: Response(200)) -> None:
        self.answer = answer
        self.received: list[str] = []
        self.max_concurrent = 0
        self._in_flight = 0
        self.open = asyncio.Event()
        self.open.set()
        self._changed = asyncio.Condition()

    async def send(self, request: Request) -> Response:
        id_ = request.headers["webhook-id"]
        self._in_flight += 1
        self.max_concurrent = max(self.max_concurrent, self._in_flight)
        self.received.append(id_)
        async with self._changed:
            self._changed.notify_all()
        await self.open.wait()
        self._in_flight -= 1
        return self.answer(id_)

    async def wait_for_count(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(lambda: len(self.received) >= count)


class BatchDestination(ScriptedDestination):
    """Takes batches, and answers by the ids of the notifications inside."""

    def __init__(self, answer: Callable[[list[str]], Response] = lambda _: Response(200)) -> None:
        super().__init__()
        self.answer_batch = answer
        self.batches: list[list[str]] = []
        """The ids in each request, whatever became of it."""
        self.request_ids: list[str] = []
        """Those of the requests."""

    async def send(self, request: Request) -> Response:
        inside = [document["id"] for document in msgspec.json.decode(request.body)]
        self.batches.append(inside)
        self.request_ids.append(request.headers["webhook-id"])
        answer = await super().send(request)
        return answer if answer.status != 200 else self.answer_batch(inside)

    @property
    def sizes(self) -> list[int]:
        """How many were in each request."""
        return [len(inside) for inside in self.batches]


class Clock:
    """Time that moves when the test says so."""

    def __init__(self) -> None:
        self.now_ns = 10**18

    def __call__(self) -> int:
        return self.now_ns


def http_destination(**parts: object) -> HttpDestination:
    return HttpDestination.model_validate({"url": "http://x", **parts})


def make_worker(
    outbox: Outbox,
    to: ScriptedDestination,
    clock: Callable[[], int],
    name: str = "hook",
    observer: RecordingObserver | None = None,
    rate_limiter: RateLimiter | None = None,
    **parts: object,
) -> DeliveryWorker:
    destination = http_destination(**parts)
    render = build_renderer(destination, (), colour=False, on_template_error=print)
    client = DestinationClient(name, destination, render, to)
    limiter = rate_limiter or RateLimiters().assign({name: client.destination})[name]
    return DeliveryWorker(
        client, outbox, limiter, observer or RecordingObserver(), clock, lambda: 0.5
    )


async def enqueue(
    outbox: Outbox, *notifications: Notification, to: str = "hook", now_ns: int = 10**18
) -> None:
    await outbox.commit(IngestCommit("here", None, [(one, [to]) for one in notifications]), now_ns)


async def wait_until_pending(outbox: Outbox, max_count: int, name: str = "hook") -> None:
    """Wait until no more than so many deliveries of a destination are left."""
    async with asyncio.timeout(WAIT_S):
        while (await outbox.pending()).get(name, 0) > max_count:
            await asyncio.sleep(0.001)


async def wait_until_empty(outbox: Outbox, name: str = "hook") -> None:
    await wait_until_pending(outbox, 0, name)


@asynccontextmanager
async def run_workers(*lanes: DeliveryWorker) -> AsyncIterator[None]:
    """Run lanes, and stop them afterwards."""
    async with asyncio.TaskGroup() as tasks:
        for one in lanes:
            tasks.create_task(one.run())
        yield
        for one in lanes:
            one.stop()


class VirtualTime:
    """Moves a clock, and waits for a lane to have done all that is due by then."""

    def __init__(self, outbox: Outbox, clock: Clock, name: str = "hook") -> None:
        self._outbox = outbox
        self._clock = clock
        self._name = name

    async def wait_until_idle(self) -> None:
        """Return when the lane waits: it does nothing between two questions to the store, which
        answers in the order in which it is asked."""
        news = self._outbox.wakeup(self._name)
        news.notify()
        quiet = 0
        async with asyncio.timeout(WAIT_S):
            while quiet < 6:
                await asyncio.sleep(0)
                await self._outbox.pending()
                quiet = 0 if news.is_set() else quiet + 1

    async def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        self._clock.now_ns += int(seconds * 1e9)
        await self.wait_until_idle()
