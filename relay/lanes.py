"""Loop 2: what is due is sent, judged and settled, in one lane per destination."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, time_ns

import structlog

from relay.config import Destination
from relay.delivery.limits import TokenBucket
from relay.delivery.retry import Attempt, judge
from relay.delivery.sender import Sender
from relay.delivery.webhook import stamped
from relay.exchange import Outcome, Response, kind
from relay.formats import Render
from relay.notification import Notification
from relay.store.outbox import Delivery, Outbox
from relay.tally import DestinationTally

log = structlog.get_logger()

AT_ONCE = 64
"""How many deliveries are fetched from the store at once."""

NAP_S = 60.0
"""The longest wait for a due time, so that a clock that was set is noticed."""


@dataclass(frozen=True, slots=True)
class Channel:
    """All that it takes to reach a destination."""

    name: str
    destination: Destination
    render: Render
    sender: Sender
    tally: DestinationTally = field(default_factory=DestinationTally)

    async def send(self, notification: Notification) -> Response:
        """Render the notification and send it once, stamped with the time of the wall clock."""
        request = stamped(self.render(notification), notification.id, time_ns())
        return await self.sender.send(request)


class Lane:
    """Delivers to one destination, several at a time, those about one subject in order."""

    def __init__(
        self,
        channel: Channel,
        outbox: Outbox,
        now: Callable[[], int],
        chance: Callable[[], float],
    ) -> None:
        """``now`` is the clock by which deliveries are due; ``chance`` as in `Attempt`."""
        self._channel = channel
        self._outbox = outbox
        self._now = now
        self._chance = chance
        self._news = outbox.news(channel.name)
        self._ready: deque[Delivery] = deque()
        self._under_way: set[int] = set()
        rate = channel.destination.rate_limit
        self._bucket = TokenBucket(rate) if rate else None
        self._stopping = False

    @property
    def tally(self) -> DestinationTally:
        """What came of the attempts so far."""
        return self._channel.tally

    @property
    def name(self) -> str:
        """The destination's."""
        return self._channel.name

    async def run(self) -> None:
        """Deliver until told to stop; then return when what is under way is settled."""
        async with asyncio.TaskGroup() as attempts:
            stopping = False
            while not stopping:
                stopping = self._stopping
                self._news.clear()
                next_s = await self._fetch()
                limit_s = self._start(attempts)
                if not self._stopping:
                    await self._pause(min(next_s, limit_s))

    def stop(self) -> None:
        """Begin what is due and finds room, once more, and then no further attempt."""
        self._stopping = True
        self._news.set()

    async def _fetch(self) -> float:
        """Get what is due, if nothing is at hand; in how many seconds there will be more."""
        if self._ready:
            return NAP_S
        now_ns = self._now()
        most = max(AT_ONCE, self._channel.destination.concurrency)
        due = await self._outbox.due(self._channel.name, now_ns, most, self._under_way)
        self._ready.extend(due.deliveries)
        return NAP_S if due.next_ns is None else (due.next_ns - now_ns) / 1e9

    def _start(self, attempts: asyncio.TaskGroup) -> float:
        """Begin attempts while there is room; in how many seconds the rate allows the next."""
        clock_s = asyncio.get_running_loop().time()
        while self._ready and len(self._under_way) < self._channel.destination.concurrency:
            if self._bucket is not None:
                if (wait_s := self._bucket.wait_s(clock_s)) > 0:
                    return wait_s
                self._bucket.spend(clock_s)
            delivery = self._ready.popleft()
            self._under_way.add(delivery.seq)
            attempts.create_task(self._deliver(delivery))
        return NAP_S

    async def _pause(self, most_s: float) -> None:
        """Wait for news: something was committed or settled, or it is time to stop."""
        try:
            async with asyncio.timeout(min(most_s, NAP_S)):
                await self._news.wait()
        except TimeoutError:
            pass

    async def _deliver(self, delivery: Delivery) -> None:
        begun_ns, begun_s = self._now(), perf_counter()
        response = await self._channel.send(delivery.notification)
        attempt = Attempt(
            earlier=delivery.attempts,
            age_s=(begun_ns - delivery.created_ns) / 1e9,
            chance=self._chance(),
        )
        outcome = judge(response, attempt, self._channel.destination.retry)
        self._tell(delivery, response, outcome, perf_counter() - begun_s)
        await self._outbox.settle(delivery, outcome, self._now())
        self._under_way.discard(delivery.seq)
        self._news.set()

    def _tell(
        self, delivery: Delivery, response: Response, outcome: Outcome, took_s: float
    ) -> None:
        """The one wide line about an attempt, which counts it too."""
        self.tally.count(outcome)
        after_s = getattr(outcome, "after_s", None)
        log.info(
            "delivery.attempted",
            route=delivery.notification.route,
            destination=delivery.destination,
            notification=delivery.notification.id,
            attempt=delivery.attempts + 1,
            status=response.status,
            duration_ms=round(took_s * 1000, 1),
            outcome=kind(outcome),
            reason=outcome.reason.value,
            error=response.error,
            retry_in_s=None if after_s is None else round(after_s, 1),
        )
