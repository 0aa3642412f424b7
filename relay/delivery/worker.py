"""Loop 2: takes what was committed, sends it, classifies the response, and stores the outcome.

A destination has one worker: a pool of up to ``concurrency`` senders over a `DeliveryQueue`. The
store passes on what it has just committed (`receive`). A sender starts for it at once; if all are
busy, the first that has finished takes it. When the destination has answered, the outcome goes to
`Outbox.ack`, which stores it later, and the next delivery about the same subject may be sent. The
loop (`_run_loop`) does the rest: it fetches what else is in the store (`QueueFiller`), and gives up
deliveries that are too old.

`refresh` repeats open incidents, which are no deliveries: see `relay.delivery.refresh`.

Three things can hold a request back (`_blocked_s`): the circuit breaker while the destination does
not respond, the rate limiter that destinations share, and ``batch.wait``. After `stop` the worker
makes one more round of attempts, after `detach` none. Then it waits for the open requests and until
their outcomes are stored, and returns.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from time import perf_counter

import structlog
from msgspec.structs import replace

from relay.config import Renderer
from relay.core.counters import DestinationCounters
from relay.core.exchange import Retry
from relay.core.notification import Repeat
from relay.core.status import DestinationStatus
from relay.core.tasks import LoopMonitor, spawn
from relay.delivery.attempt import classify_batch, log_attempt
from relay.delivery.batching import is_payload_too_large
from relay.delivery.client import DestinationClient
from relay.delivery.filler import QueueFiller
from relay.delivery.health import DestinationHealth, DestinationObserver
from relay.delivery.queue import Batch, DeliveryQueue, MemoryBudget
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.refresh import Refresher
from relay.store.handover import Committed
from relay.store.outbox import Outbox
from relay.store.records import Ack

log = structlog.get_logger()

MAX_WAIT_S = 60.0
"""The longest wait of the loop, which also has to look for deliveries that are too old."""

FOREVER_NS = 10**18
"""Longer than any delivery waits."""

FETCH_SIZE = 256
"""How many deliveries are fetched from the store at once, unless a request takes more."""

MAX_UNACKED = 512
"""At most this many answered deliveries wait until their outcome is stored. After a crash these are
sent twice."""


class DeliveryWorker:
    """Delivers to one destination: several requests at once, each subject in order."""

    def __init__(
        self,
        client: DestinationClient,
        outbox: Outbox,
        rate_limiter: RateLimiter,
        memory: MemoryBudget,
        observer: DestinationObserver,
        now: Callable[[], int],
        random_fraction: Callable[[], float],
    ) -> None:
        """``now`` is the clock by which deliveries are due; ``random_fraction`` as in `Attempt`."""
        self._client = client
        self._outbox = outbox
        self._rate_limiter = rate_limiter
        self._log = log.bind(destination=client.name)
        self._now = now
        self._random_fraction = random_fraction
        self._health = DestinationHealth(client, outbox, rate_limiter, observer, now)
        self._breaker = self._health.breaker
        self._queue = DeliveryQueue(memory, client.batch)
        self._filler = QueueFiller(client.name, outbox, self._queue, now)
        self._refresher = Refresher(lambda: self._client, rate_limiter, self._may_refresh, now)
        self._batches = client.batch is not None
        self._concurrency = client.destination.concurrency
        self._max_in_flight = self._concurrency * self._queue.max_batch_size + MAX_UNACKED
        self._senders = asyncio.TaskGroup()
        self._is_sending = False
        """Whether requests may be started."""
        self._has_begun = False
        """Whether requests could be started at any time so far."""
        self._first_refresh: Sequence[Repeat] = ()
        """The incidents to repeat as soon as requests may be started."""
        self._open_requests = 0
        self._in_flight: set[int] = set()
        """Numbers of the deliveries in open requests, and of those whose ack is not stored."""
        self._wakeup = asyncio.Event()  # of the loop
        self._is_blocked = False
        """Whether the loop waits until a batch that is held back may be sent."""
        self._error: BaseException | None = None
        self._stopping = False
        self._detaching = False
        self.loop_monitor = LoopMonitor()

    @property
    def counters(self) -> DestinationCounters:
        """Counters of the attempts so far."""
        return self._client.counters

    @property
    def name(self) -> str:
        """The destination's name."""
        return self._client.name

    @property
    def status(self) -> DestinationStatus:
        """Whether the destination is stopped, failing or paused."""
        return self._health.status

    def enable(self) -> bool:
        """End a stop (410), a pause and the wait for a probe, and make all retries due now.

        Returns whether the destination was stopped, paused or failing.
        """
        was_waiting = self._health.enable()
        self._wakeup.set()
        return was_waiting

    def _try_at_once(self) -> None:
        """Take note that the connection to the destination is open: what waits may succeed now."""
        self.enable()

    def stop(self) -> None:
        """Make one more round of attempts, with what is due and has capacity, and then end."""
        self._stopping = True
        self._wakeup.set()
        self._refresher.wake()

    def detach(self) -> None:
        """Start no further attempt, and end: another worker replaces this one, or none."""
        self._detaching = True
        self._wakeup.set()
        self._refresher.wake()

    def set_renderer(self, render: Renderer) -> None:
        """Render with ``render`` from now on."""
        self._client = replace(self._client, render=render)

    def refresh(self, incidents: Sequence[Repeat]) -> None:
        """Repeat incidents that are open. Does not wait.

        It is skipped if the destination does not respond, if the refresh before is not complete, or
        if this worker ends. Before `run` has begun to send, it is kept until then: after a start,
        alerts may be about to expire.
        """
        if not (self._has_begun or self._stopping or self._detaching):
            self._first_refresh = incidents
        elif self._refresher.start():
            work = self._refresher.run(incidents, self._advance)
            spawn(work, f"destination {self.name}: refresh", self._senders)

    async def run(self) -> None:
        """Deliver until `stop` or `detach`, and return when all outcomes are stored."""
        self._outbox.attach(self.name, self)
        self._rate_limiter.on_change(self._wakeup.set)
        if (connection := self._client.connection) is not None:
            connection.on_open(self._try_at_once)
        try:
            await self._health.restore()
            async with self._senders:
                await self._run_loop()
            await self._outbox.ack((), self._now(), flush=True)
            self._raise_error()
        finally:
            self._outbox.detach(self.name)
            self._rate_limiter.unregister(self, self._wakeup.set)
            self._queue.close()

    # The loop

    async def _run_loop(self) -> None:
        self._is_sending = self._has_begun = True
        if self._first_refresh:
            self.refresh(self._first_refresh)
        try:
            while await self._run_round():
                pass
        finally:
            self._is_sending = False
            # Others must not queue behind this worker while it waits for its open requests.
            self._rate_limiter.cancel_wait(self)

    async def _run_round(self) -> bool:
        """Fetch and send what is due, and wait for more. Returns False after the last round."""
        is_last = self._stopping  # read before the round, so that one more follows `stop`
        self._wakeup.clear()
        self._raise_error()
        await self._health.apply_enable()
        if self._health.is_expiry_due():
            self._drop_unsent()  # the store may give up deliveries that are in the queue
            await self._health.expire(self._in_flight)
        wait_s = await self._fetch()
        if self._detaching:
            return False
        blocked_s = self._start_senders()
        if not (self._stopping or self._can_fetch()):
            self._is_blocked = blocked_s < MAX_WAIT_S
            await self._wait(min(wait_s, blocked_s))
            self._is_blocked = False
        return not is_last

    async def _fetch(self) -> float:
        """Fetch what is due, if senders lack work. Returns how long until the next one is due."""
        now_ns, filler = self._now(), self._filler
        filler.note_time(now_ns)
        if self._breaker.is_stopped:
            return MAX_WAIT_S
        if self._breaker.is_half_open:  # the first delivery is the probe, even if not yet due
            if (wait_s := self._breaker.wait_s(now_ns / 1e9)) > 0:
                return wait_s
            if self._needs_more():
                await filler.fetch(now_ns + FOREVER_NS, 1)
        elif filler.store_has_more and self._needs_more():
            size = max(FETCH_SIZE, self._concurrency, self._queue.max_batch_size)
            await filler.fetch(now_ns, size)
        return filler.due_in_s(now_ns)

    def _needs_more(self) -> bool:
        """Whether the queue has less than the senders can take, and there is memory for more."""
        if self._queue.is_short_of_memory:
            return False
        if self._breaker.is_half_open:
            return not self._queue
        return len(self._queue) < max(self._queue.max_batch_size, self._concurrency)

    def _can_fetch(self) -> bool:
        """Whether more should be fetched now, since it could be sent at once."""
        return (
            self._filler.store_has_more
            and self._needs_more()
            and self._has_capacity()
            and self._breaker.wait_s(self._now_s()) == 0
        )

    async def _wait(self, max_s: float) -> None:
        """Wait until the loop has something to do, but at most this long."""
        with suppress(TimeoutError), self.loop_monitor.idle():
            async with asyncio.timeout(min(max_s, MAX_WAIT_S)):
                await self._wakeup.wait()

    def _drop_unsent(self) -> None:
        """Empty the queue. Its deliveries are fetched again when they can be sent."""
        self._queue.clear()
        self._filler.store_has_more = True

    # From a commit to a stored outcome

    def receive(self, committed: Sequence[Committed]) -> None:
        """Queue what was just committed, as far as there is memory, and send it."""
        self._filler.receive(committed)
        self._advance()

    def request_fetch(self, chains: Collection[int] | None = None) -> None:
        """Let the loop fetch: the store holds deliveries that it did not pass on."""
        self._filler.request_fetch(chains)
        self._wakeup.set()

    def _advance(self) -> None:
        """Send what may be sent. Wake the loop if it has to fetch, or to wait until more may be."""
        if self._stopping or self._detaching:
            return
        try:
            is_blocked = self._start_senders() < MAX_WAIT_S
        except Exception as error:
            self.fail(error)
            return
        is_fetch_needed = self._filler.store_has_more and self._needs_more()
        if is_fetch_needed or (is_blocked and not self._is_blocked):
            self._wakeup.set()

    def _start_senders(self) -> float:
        """Start senders while there is capacity. Returns how long the next batch is held back."""
        while self._is_sending and self._queue and self._has_capacity():
            now_s = self._now_s()
            if (wait_s := self._blocked_s(now_s)) > 0:
                return wait_s
            batch = self._take_batch(now_s)
            spawn(self._send(batch), f"destination {self.name}: sender", self._senders)
        if not self._queue:
            self._rate_limiter.cancel_wait(self)
        return MAX_WAIT_S

    async def _send(self, batch: Batch) -> None:
        """Send a batch, and then others from the queue, one after the other."""
        await self._attempt(batch)
        while not (self._stopping or self._detaching) and self._queue and self._has_capacity():
            now_s = self._now_s()
            if self._blocked_s(now_s) > 0:
                break
            await self._attempt(self._take_batch(now_s))
        self._advance()

    def _may_refresh(self) -> bool:
        is_ending = self._stopping or self._detaching
        return self._is_sending and not (is_ending or self._breaker.is_failing)

    def _has_capacity(self) -> bool:
        if self._refresher.is_sending:
            return False
        if self._breaker.is_half_open:
            return not self._open_requests
        is_full = len(self._in_flight) >= self._max_in_flight
        return self._open_requests < self._concurrency and not is_full

    def _blocked_s(self, now_s: float) -> float:
        """Return how long until the next batch may be sent; 0 if it may be sent now."""
        wait_s = self._breaker.wait_s(now_s)
        if self._batches and not (self._stopping or self._breaker.is_half_open):
            wait_s = max(wait_s, self._queue.wait_s(self._now()))
        if wait_s > 0:
            self._rate_limiter.cancel_wait(self)
            return wait_s
        return self._rate_limiter.wait_s(self, now_s)

    def _take_batch(self, now_s: float) -> Batch:
        """Take the next batch from the queue; it is in flight from now on."""
        self._rate_limiter.spend(self, now_s)
        batch = self._queue.take(self._client.render, now_s, alone=self._breaker.is_half_open)
        self._in_flight.update(delivery.seq for delivery, _ in batch)
        self._open_requests += 1
        return batch

    async def _attempt(self, batch: Batch) -> None:
        """Send a batch once, and pass on the outcomes."""
        started_ns, started_s = self._now(), perf_counter()
        deliveries = [delivery for delivery, _ in batch]
        sending = self._client.send_rendered(
            [(delivery.notification.id, request) for delivery, request in batch]
        )
        if len(batch) == 1:
            batch.clear()  # the body may be long: no reference to it may outlast the sending
        try:
            response = await sending
        finally:
            self._open_requests -= 1
        if is_payload_too_large(response, len(batch)):
            self._log.info("batch.too_large", batch=len(batch))
            self._queue.requeue(batch, self._now_s())
            self._in_flight.difference_update(delivery.seq for delivery in deliveries)
            return
        fraction = self._random_fraction()
        acks = classify_batch(self._client.classify, deliveries, response, started_ns, fraction)
        duration_s = perf_counter() - started_s
        log_attempt(self._log, acks, response, duration_s, is_batch=self._batches)
        health_change = self._health.record(acks, response, fraction)
        for delivery, outcome, _ in acks:
            if self._queue.answered(delivery, is_final=not isinstance(outcome, Retry)):
                self._filler.store_has_more = True
        if self._breaker.is_half_open:
            self._drop_unsent()  # one probe at a time needs no memory for more
        self._outbox.ack(acks, self._now(), flush=health_change is not None)
        if health_change is not None:
            await self._health.save(health_change)

    def settled(self, acks: Sequence[Ack]) -> None:
        """Forget the deliveries whose outcomes are stored."""
        for delivery, outcome, _ in acks:
            self._in_flight.discard(delivery.seq)
            if self._queue.settled(delivery):
                self._filler.store_has_more = True
            if isinstance(outcome, Retry):
                due_ns = self._now() + int(outcome.after_s * 1e9)
                if self._filler.note_due(due_ns):
                    self._wakeup.set()
        self._advance()

    def fail(self, error: BaseException) -> None:
        """End the worker with this error."""
        self._error = error
        self._wakeup.set()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _now_s(self) -> float:
        return self._now() / 1e9
