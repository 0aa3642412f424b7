"""A delivery worker over a real store, with a scripted destination and virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import msgspec

from relay.core.event import Actor
from relay.core.exchange import Request, Response
from relay.core.notification import Notification, build_notification
from relay.core.zone import UTC_ZONE
from relay.delivery.client import DestinationClient
from relay.delivery.queue import MemoryBudget
from relay.delivery.rate_limit import RateLimiter, RateLimiters
from relay.delivery.worker import DeliveryWorker
from relay.destinations.http import HttpDestination
from relay.store.outbox import Outbox
from relay.store.records import IngestCommit
from tests.component.observer import RecordingObserver
from tests.support.events import make_event

WAIT_S = 10
Answer = Callable[[str], Response]


def sample_notification(number: int, subject: str = "a") -> Notification:
    """The notification of a container's death at time ``number``."""
    actor = Actor(subject, subject, None, {})
    event = make_event(id=f"evt_{number:032x}", time_ns=number, actor=actor)
    return build_notification("route", event)


class ScriptedDestination:
    """Records what is sent, in order; holds its answers while `open` is cleared."""

    def __init__(self, answer: Answer = lambda _: Response(200)) -> None:
        self.answer = answer
        """Returns the response, by the id of the request."""
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
        """Wait until ``count`` notifications were received."""
        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(lambda: len(self.received) >= count)


class BatchDestination(ScriptedDestination):
    """Takes batches, and answers by the ids of the notifications in them."""

    def __init__(self, answer: Callable[[list[str]], Response] = lambda _: Response(200)) -> None:
        super().__init__()
        self.answer_batch = answer
        self.batches: list[list[str]] = []
        """The ids in each request, answered or not."""
        self.request_ids: list[str] = []
        """The id of each request."""

    async def send(self, request: Request) -> Response:
        inside = [document["id"] for document in msgspec.json.decode(request.body)]
        self.batches.append(inside)
        self.request_ids.append(request.headers["webhook-id"])
        answer = await super().send(request)
        return answer if answer.status != 200 else self.answer_batch(inside)

    @property
    def sizes(self) -> list[int]:
        """The number of notifications in each request."""
        return [len(inside) for inside in self.batches]


class Clock:
    """A clock that only moves if the test moves it."""

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
    """A worker for an http destination with these options."""
    destination = http_destination(**parts)
    render = destination.build_renderer((), print, colour=False, zone=UTC_ZONE)
    client = DestinationClient(name, destination, render, to)
    limiter = rate_limiter or RateLimiters().assign({name: client.destination})[name]
    return DeliveryWorker(
        client,
        outbox,
        limiter,
        MemoryBudget(),
        observer or RecordingObserver(),
        clock,
        lambda: 0.5,
    )


async def enqueue(
    outbox: Outbox, *notifications: Notification, to: str = "hook", now_ns: int = 10**18
) -> None:
    """Commit notifications for a destination."""
    await outbox.commit(
        IngestCommit("here", None, [(each, [to]) for each in notifications]), now_ns
    )


async def enqueue_many(outbox: Outbox, count: int, *, first: int = 0, now_ns: int = 10**18) -> None:
    """Enqueue ``count`` deliveries, each about another container."""
    notifications = (
        sample_notification(number, str(number)) for number in range(first, first + count)
    )
    await enqueue(outbox, *notifications, now_ns=now_ns)


async def wait_until_pending(outbox: Outbox, max_count: int, name: str = "hook") -> None:
    """Wait until at most ``max_count`` deliveries of a destination are left."""
    async with asyncio.timeout(WAIT_S):
        while (await outbox.pending()).get(name, 0) > max_count:
            await asyncio.sleep(0.001)


async def wait_until_empty(outbox: Outbox, name: str = "hook") -> None:
    """Wait until no delivery of a destination is left."""
    await wait_until_pending(outbox, 0, name)


@asynccontextmanager
async def run_workers(*workers: DeliveryWorker) -> AsyncIterator[None]:
    """Run workers, and stop them afterwards."""
    async with asyncio.TaskGroup() as tasks:
        for worker in workers:
            tasks.create_task(worker.run())
        yield
        for worker in workers:
            worker.stop()


class VirtualTime:
    """Moves a clock, and waits until a worker has done everything that is due by then."""

    def __init__(self, outbox: Outbox, clock: Clock, name: str = "hook") -> None:
        self._outbox = outbox
        self._clock = clock
        self._name = name

    async def wait_until_idle(self) -> None:
        """Return when the worker waits.

        A worker is idle if its wakeup is not set after several queries: between two queries it does
        nothing else, and the store answers them in order.
        """
        self.wake()
        idle_count = 0
        async with asyncio.timeout(WAIT_S):
            while idle_count < 6:
                await asyncio.sleep(0)
                await self._outbox.pending()
                is_idle = self._wakeup is None or not self._wakeup.is_set()
                idle_count = idle_count + 1 if is_idle else 0

    def wake(self) -> None:
        """Let the worker look at the clock."""
        if self._wakeup is not None:
            self._wakeup.set()

    @property
    def _wakeup(self) -> asyncio.Event | None:
        """The wakeup of the worker's loop; None if no worker runs."""
        worker = self._outbox._handover._receivers.get(self._name)
        return cast("DeliveryWorker", worker)._wakeup if worker is not None else None

    async def advance(self, seconds: float) -> None:
        """Move the clock by ``seconds``, and wait until the worker is idle."""
        self._clock.now_ns += int(seconds * 1e9)
        await self.wait_until_idle()
