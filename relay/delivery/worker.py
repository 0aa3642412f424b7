"""Loop 2: take what was committed, send it, classify the response, ack it. One for a destination.

A worker is a pool of up to ``concurrency`` senders over a `DeliveryQueue`. The store passes on
what it has just committed (`receive`), and a sender starts at once, or one that has finished takes
the next delivery. When a delivery was answered, its outcome goes to `Outbox.ack`, which stores it
later, and the next one about the same subject may go. The loop (`_run_loop`) does the rest: it
fetches what was in the store before, what is due again and what found no memory, and it gives up
what is too old.

Three things can hold a request back (`_blocked_s`): the circuit breaker while the destination does
not respond, the rate limiter that destinations share, and ``batch.wait``. After `stop` the worker
makes one more round of attempts, after `detach` none. Then it waits for the open requests and until
their outcomes are stored, and returns.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from time import perf_counter, time_ns

import structlog
from msgspec.structs import replace

from relay.config import Renderer
from relay.core.counters import DestinationCounters
from relay.core.exchange import Delivered, Reason, Response, Retry
from relay.core.status import DestinationStatus
from relay.core.tasks import LoopMonitor, spawn
from relay.delivery.attempt import (
    classify_batch,
    count_dead_letters,
    health_change_facts,
    log_attempt,
)
from relay.delivery.batching import is_payload_too_large
from relay.delivery.circuit_breaker import CircuitBreaker, DestinationObserver, HealthChange
from relay.delivery.client import DestinationClient
from relay.delivery.queue import Batch, DeliveryQueue, MemoryBudget
from relay.delivery.rate_limit import RateLimiter
from relay.store.handover import Committed
from relay.store.outbox import Outbox
from relay.store.records import Ack

log = structlog.get_logger()

MAX_WAIT_S = 60.0
"""The longest wait for a due time, and how often deliveries that are too old are looked for."""

FOREVER_NS = 10**18
"""Longer than any delivery waits."""

FETCH_SIZE = 256
"""How many deliveries are fetched from the store at once, unless a request takes more."""

MAX_UNACKED = 512
"""At most this many deliveries that were answered wait until that is stored. After a crash these
are sent twice."""


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
        self._observer = observer
        self._log = log.bind(destination=client.name)
        self._now = now
        self._random_fraction = random_fraction
        self._breaker = CircuitBreaker(client.destination.retry)
        self._queue = DeliveryQueue(memory, client.batch)
        self._batches = client.batch is not None
        self._concurrency = client.destination.concurrency
        self._max_in_flight = self._concurrency * self._queue.max_batch_size + MAX_UNACKED
        self._store_has_more = True
        """Whether the store may hold deliveries that are due and not in the queue."""
        self._lacks_memory = False
        """Whether there was no memory for what was fetched last; something is in the queue then."""
        self._next_due_ns: int | None = None
        """When the first of the other deliveries in the store will be due."""
        self._fetching: list[Committed] | None = None
        """What was committed during a query; None while there is none."""
        self._senders = asyncio.TaskGroup()
        self._is_sending = False
        """Whether requests may be started."""
        self._open_requests = 0
        self._in_flight: set[int] = set()
        """Numbers of the deliveries in open requests, and of those whose ack is not stored."""
        self._wakeup = asyncio.Event()
        """Wakes the loop."""
        self._is_blocked = False
        """Whether the loop waits until a request that is held back may be sent."""
        self._error: BaseException | None = None
        self._expired_at_s = float("-inf")
        """When deliveries that are too old were last looked for, and none was found."""
        self._enable_requested = False
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
        """Whether the destination is sent to, and if not, why."""
        now_s = self._now_s()
        is_stopped = self._breaker.is_stopped
        probe_in_s = 0.0 if is_stopped else self._breaker.wait_s(now_s)
        wait_s = max(self._rate_limiter.paused_for_s(now_s), probe_in_s)
        resumes_ns = self._now() + int(wait_s * 1e9) if wait_s else None
        return DestinationStatus(is_stopped, self._breaker.is_failing, resumes_ns)

    def enable(self) -> bool:
        """End a stop (410), a pause and the wait for a probe, and make all retries due now.

        Returns whether the destination was stopped, paused or failing.
        """
        was_waiting = self.status != DestinationStatus()
        self._breaker.enable(self._now_s())
        self._rate_limiter.end_pause()
        self._enable_requested = True
        self._wakeup.set()
        return was_waiting

    def stop(self) -> None:
        """Make one more round of attempts, with what is due and has capacity, and then end."""
        self._stopping = True
        self._wakeup.set()

    def detach(self) -> None:
        """Start no further attempt, and end: another worker replaces this one, or none."""
        self._detaching = True
        self._wakeup.set()

    def set_renderer(self, render: Renderer) -> None:
        """Render with ``render`` from now on."""
        self._client = replace(self._client, render=render)

    async def run(self) -> None:
        """Deliver until `stop` or `detach`, and return when all outcomes are stored."""
        self._outbox.attach(self.name, self)
        self._rate_limiter.on_change(self._wakeup.set)
        try:
            await self._restore_state()
            async with self._senders:
                self._is_sending = True
                await self._run_loop()
                self._is_sending = False
            await self._outbox.ack((), self._now(), flush=True)
        finally:
            self._is_sending = False
            self._outbox.detach(self.name)
            self._rate_limiter.unregister(self, self._wakeup.set)
            self._queue.close()

    # What the store tells (see `relay.store.handover.Receiver`)

    def receive(self, committed: Sequence[Committed]) -> None:
        """Take what was committed just now, as far as there is memory, and send it."""
        if self._fetching is not None:
            self._fetching += committed  # the query may return some of it as well
            return
        for delivery, is_due in committed:
            if not is_due:
                self._queue.add_successor(delivery)
            elif self._store_has_more or not self._queue.add_due(delivery, is_only=True):
                # What is in the store goes first: it is older.
                self._queue.break_chain(delivery.chain)
                self._store_has_more = True
        self._advance()

    def request_fetch(self, chains: Collection[int] = ()) -> None:
        """Fetch: the store holds more than it has passed on."""
        for chain in chains:
            self._queue.break_chain(chain)
        self._store_has_more = True
        self._wakeup.set()

    def settled(self, acks: Sequence[Ack]) -> None:
        """Forget the deliveries whose outcomes are stored."""
        self._lacks_memory = False
        for delivery, outcome, _ in acks:
            self._in_flight.discard(delivery.seq)
            are_others_left = self._queue.settled(delivery)
            if isinstance(outcome, Retry):
                self._wake_at(self._now() + int(outcome.after_s * 1e9))
            elif are_others_left:
                self._store_has_more = True
        self._advance()

    def fail(self, error: BaseException) -> None:
        """End with this error."""
        self._error = error
        self._wakeup.set()

    # The loop

    async def _run_loop(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping  # read before the round, so that one more follows `stop`
            self._wakeup.clear()
            if self._error is not None:
                raise self._error
            await self._apply_enable()
            await self._expire_old()
            wait_s = await self._fetch()
            if self._detaching:
                # Others must not queue behind this worker while it waits for its open requests.
                self._rate_limiter.cancel_wait(self)
                return
            blocked_s = self._start_senders()
            if self._store_has_more and self._needs_fetch() and self._can_fetch():
                continue
            if not self._stopping:
                self._is_blocked = blocked_s < MAX_WAIT_S
                await self._wait(min(wait_s, blocked_s))
                self._is_blocked = False

    async def _restore_state(self) -> None:
        """Continue an outage and a pause that began in another process or worker."""
        now_ns = self._now()
        failing_since_ns = (await self._outbox.outages()).get(self.name)
        if failing_since_ns is not None:
            self._breaker.restore(failing_since_ns / 1e9, now_ns / 1e9)
        until_ns = (await self._outbox.pauses(now_ns)).get(self.name)
        if until_ns is not None:
            max_s = self._client.destination.retry.max_after.total_seconds()
            self._rate_limiter.pause(min(until_ns / 1e9, now_ns / 1e9 + max_s))

    async def _apply_enable(self) -> None:
        """After `enable`: end the pause in the store, and make every delivery due."""
        if self._enable_requested:
            self._enable_requested = False
            await self._outbox.end_pause(self.name)
            await self._outbox.retry_now(self.name, self._now())

    async def _expire_old(self) -> None:
        """Give up old deliveries during an outage or a pause; at other times failed attempts do."""
        now_s = self._now_s()
        is_blocked = self._breaker.is_failing or self._rate_limiter.paused_for_s(now_s) > 0
        if not is_blocked or now_s < self._expired_at_s + MAX_WAIT_S:
            return
        # The store may give up deliveries that are in the queue, so the queue is cleared. Those in
        # flight are passed to the store, which leaves them alone.
        self._drop_unsent()
        age_ns = int(self._client.destination.retry.max_age.total_seconds() * 1e9)
        now_ns = self._now()
        expired = await self._outbox.expire(self.name, now_ns - age_ns, now_ns, self._in_flight)
        if expired.count:
            self.counters.expired += expired.count
            log.warning("delivery.expired", destination=self.name, count=expired.count)
            if others := expired.count - expired.self_events:
                self._observer.dead_lettered(self.name, Reason.EXPIRED, others)
        else:
            self._expired_at_s = now_s

    async def _fetch(self) -> float:
        """Fetch what is due, if the queue has too little. Returns how long until more is due."""
        now_ns = self._now()
        if self._next_due_ns is not None and self._next_due_ns <= now_ns:
            self._store_has_more, self._next_due_ns = True, None
        if self._breaker.is_stopped:
            return MAX_WAIT_S
        limit, until_ns = max(FETCH_SIZE, self._concurrency), now_ns
        if self._breaker.is_half_open:  # the first delivery is the probe, even if not yet due
            if (wait_s := self._breaker.wait_s(now_ns / 1e9)) > 0:
                return wait_s
            limit, until_ns = 1, now_ns + FOREVER_NS
        elif not self._store_has_more:
            return self._due_in_s(now_ns)
        if self._needs_fetch():
            await self._fetch_due(until_ns, max(limit, self._queue.max_batch_size))
        return self._due_in_s(now_ns)

    async def _fetch_due(self, until_ns: int, limit: int) -> None:
        now_ns = self._now()
        self._store_has_more, self._fetching = False, []
        try:
            due = await self._outbox.fetch_due(
                self.name, until_ns, limit, self._queue.seqs, self._queue.available_bytes
            )
        finally:
            committed, self._fetching = self._fetching, None
        for delivery in due.deliveries:
            if not self._queue.add_due(delivery, is_only=delivery.seq not in due.followed):
                self._store_has_more = self._lacks_memory = True
        self._store_has_more |= due.has_more
        # Query again after a while in any case: a store that repairs itself notifies no worker.
        again_ns = now_ns + int(MAX_WAIT_S * 1e9)
        self._next_due_ns = min(due.next_due_ns or again_ns, again_ns)
        self.receive([each for each in committed if each.delivery.seq not in self._queue])

    def _due_in_s(self, now_ns: int) -> float:
        return MAX_WAIT_S if self._next_due_ns is None else (self._next_due_ns - now_ns) / 1e9

    def _needs_fetch(self) -> bool:
        """Whether less is in the queue than can be sent, and there may be memory for more."""
        if self._lacks_memory:
            return False
        if self._breaker.is_half_open:
            return not self._queue
        return len(self._queue) < max(self._queue.max_batch_size, self._concurrency)

    def _can_fetch(self) -> bool:
        return self._has_capacity() and self._breaker.wait_s(self._now_s()) == 0

    def _wake_at(self, due_ns: int) -> None:
        """Let the loop fetch when something is due again."""
        if self._next_due_ns is None or due_ns < self._next_due_ns:
            self._next_due_ns = due_ns
            self._wakeup.set()

    async def _wait(self, max_s: float) -> None:
        """Wait until something is to be fetched: at a time, after a commit, `enable` or `stop`."""
        with suppress(TimeoutError), self.loop_monitor.idle():
            async with asyncio.timeout(min(max_s, MAX_WAIT_S)):
                await self._wakeup.wait()

    # The senders

    def _advance(self) -> None:
        """Start what may be sent; wake the loop if it has to fetch, or to wait for a time."""
        if self._stopping or self._detaching:
            return
        try:
            is_blocked = self._start_senders() < MAX_WAIT_S
        except Exception as error:
            self.fail(error)
            return
        if is_blocked > self._is_blocked or (self._store_has_more and self._needs_fetch()):
            self._wakeup.set()

    def _start_senders(self) -> float:
        """Start senders while there is capacity. Returns how long until the next may start."""
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
        """Send a batch, and then what is in the queue, one batch after the other."""
        await self._attempt(batch)
        while not (self._stopping or self._detaching) and self._queue and self._has_capacity():
            now_s = self._now_s()
            if self._blocked_s(now_s) > 0:
                break
            await self._attempt(self._take_batch(now_s))
        self._advance()

    def _has_capacity(self) -> bool:
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
        """Remove the next batch from the queue; it is in flight from now on."""
        self._rate_limiter.spend(self, now_s)
        batch = self._queue.take(self._client.render, now_s, alone=self._breaker.is_half_open)
        self._in_flight.update(delivery.seq for delivery, _ in batch)
        self._open_requests += 1
        return batch

    async def _attempt(self, batch: Batch) -> None:
        started_ns, started_s = self._now(), perf_counter()
        deliveries = [delivery for delivery, _ in batch]
        sending = self._client.send_rendered(
            [(delivery.notification.id, request) for delivery, request in batch]
        )
        if len(batch) == 1:
            batch.clear()  # nothing refers to the body when it is sent: it may be long
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
        health_change = self._apply_response(acks, response)
        for delivery, outcome, _ in acks:
            self._queue.answered(delivery, is_final=not isinstance(outcome, Retry))
        if self._breaker.is_half_open:
            self._drop_unsent()  # one probe at a time needs no memory for more
        self._outbox.ack(acks, self._now(), flush=health_change is not None)
        if health_change is not None:
            await self._save_health_change(health_change)

    def _drop_unsent(self) -> None:
        """Drop what is in the queue: it is fetched again when it can be sent."""
        self._queue.clear()
        self._store_has_more, self._lacks_memory = True, False

    def _apply_response(self, acks: Sequence[Ack], response: Response) -> HealthChange | None:
        """Count the outcomes, inform the observer, and apply a pause and a change of health."""
        now_s, answered_ns, counters = self._now_s(), time_ns(), self.counters
        for delivery, outcome, _ in acks:
            counters.count_attempt(outcome)
            if isinstance(outcome, Delivered):
                event_ns = delivery.notification.events[0].time_ns
                counters.latencies.observe((answered_ns - event_ns) / 1e9)
        outcome = acks[0].outcome  # all outcomes say the same of the destination
        if not isinstance(outcome, Delivered):  # otherwise all are delivered
            for reason, count in count_dead_letters(acks).items():
                self._observer.dead_lettered(self.name, reason, count)
        if outcome.pause_s > 0:
            self._rate_limiter.pause(now_s + outcome.pause_s)
        failed_for_s = self._breaker.failed_for_s(now_s)
        change = self._breaker.record_outcome(outcome, now_s, self._random_fraction())
        if change is not None:
            facts = health_change_facts(change, response, outcome, failed_for_s)
            self._observer.health_changed(change, self.name, facts)
        return change

    async def _save_health_change(self, health_change: HealthChange) -> None:
        match health_change:
            case HealthChange.FAILING:
                await self._outbox.begin_outage(self.name, self._now())
            case HealthChange.RECOVERED:
                await self._outbox.end_outage(self.name)
                await self._outbox.retry_now(self.name, self._now())

    def _now_s(self) -> float:
        return self._now() / 1e9
