"""Loop 2: fetch what is due, send it, classify the response, ack it. Each destination has a worker.

A worker sends up to ``concurrency`` requests at once. Deliveries about one subject stay in order,
because the store lists only the first of them as due until its outcome is committed.

The loop (`_run_loop`) keeps a few deliveries in a prefetch buffer, starts a task for each request
that may be sent, and then waits for its wakeup. A task sends one request after the other while
something is prefetched. Three things can hold a request back (`_blocked_s`): the circuit breaker
while the destination does not respond, the rate limiter that destinations share, and
``batch.wait``. Outcomes go to the `AckBatcher`, which commits many of them together.

When everything that was due is in the buffer, the worker grants the store credit, and what is
committed next is handed over without a query. After `stop` the worker makes one more round of
attempts, after `detach` none. Then it waits for the open requests, commits their outcomes and
returns.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import perf_counter, time_ns

import structlog
from msgspec.structs import replace

from relay.config import Renderer
from relay.core.counters import DestinationCounters
from relay.core.exchange import Delivered, Outcome, Reason, Response
from relay.core.status import DestinationStatus
from relay.core.tasks import LoopMonitor, spawn
from relay.delivery.acks import MAX_UNACKED, AckBatcher
from relay.delivery.attempt_log import count_dead_letters, health_change_facts, log_fields
from relay.delivery.batching import align_retries, is_payload_too_large
from relay.delivery.circuit_breaker import CircuitBreaker, DestinationObserver, HealthChange
from relay.delivery.client import DestinationClient
from relay.delivery.prefetch import FETCH_SIZE, Batch, PrefetchBuffer
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.retry import Attempt
from relay.store.outbox import Outbox
from relay.store.records import Ack, Delivery

log = structlog.get_logger()

MAX_WAIT_S = 60.0
"""The longest wait for a due time, and how often deliveries that are too old are looked for."""

FOREVER_NS = 10**18
"""Longer than any delivery waits."""


class DeliveryWorker:
    """Delivers to one destination: several requests at once, each subject in order."""

    def __init__(
        self,
        client: DestinationClient,
        outbox: Outbox,
        rate_limiter: RateLimiter,
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
        self._wakeup = outbox.wakeup(client.name)
        rate_limiter.on_change(self._wakeup.notify)
        self._prefetched = PrefetchBuffer(client.batch)
        self._store_has_more = True
        """Whether the store may hold deliveries that are due and not in the buffer."""
        self._next_due_ns: int | None = None
        """Due time of the first delivery that was not due yet at the last query."""
        self._in_flight: set[int] = set()
        """Numbers of the deliveries in open requests, and of those whose ack is not committed."""
        self._open_requests = 0
        self._acks = AckBatcher(client.name, outbox, now, self._on_committed)
        self._breaker = CircuitBreaker(client.destination.retry)
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
        self._wakeup.notify()
        return was_waiting

    async def run(self) -> None:
        """Deliver until `stop` or `detach`, and return when all outcomes are committed."""
        await self._restore_state()
        try:
            async with asyncio.TaskGroup() as acking:
                spawn(self._acks.run(), f"destination {self.name}: acks", acking)
                async with asyncio.TaskGroup() as attempts:
                    await self._run_loop(attempts)
                self._acks.close()
        finally:
            self._rate_limiter.unregister(self, self._wakeup.notify)

    async def _run_loop(self, attempts: asyncio.TaskGroup) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping  # read before the round, so that one more follows `stop`
            self._wakeup.clear()
            self._take_wakeup()
            await self._apply_enable()
            await self._expire_old()
            due_in_s = await self._fetch()
            if self._detaching:
                # Others must not queue behind this worker while it waits for its open requests.
                self._rate_limiter.cancel_wait(self)
                return
            blocked_s = self._start_attempts(attempts)
            can_start = self._has_capacity() and self._breaker.wait_s(self._now_s()) == 0
            if self._store_has_more and self._needs_prefetch() and can_start:
                continue
            if not self._stopping:
                self._grant_credit()
                await self._wait(min(due_in_s, blocked_s))

    def stop(self) -> None:
        """Make one more round of attempts, with what is due and has capacity, and then end."""
        self._stopping = True
        self._wakeup.notify()

    def detach(self) -> None:
        """Start no further attempt, and end: another worker replaces this one, or none."""
        self._detaching = True
        self._wakeup.notify()

    def set_renderer(self, render: Renderer) -> None:
        """Render with ``render`` from now on."""
        self._client = replace(self._client, render=render)

    async def _restore_state(self) -> None:
        """Continue an outage and a pause that began in another process or worker."""
        self._wakeup.take()  # discard what was handed over to the worker before this one
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
        # The store may give up deliveries that are prefetched, so the buffer is cleared. Those in
        # flight are passed to the store, which leaves them alone.
        self._take_wakeup()
        self._prefetched.clear()
        self._store_has_more = True
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

    def _take_wakeup(self) -> None:
        """Take deliveries passed on by a commit. No query returns them: it sets the credit to 0."""
        handover = self._wakeup.take()
        self._store_has_more |= handover.needs_fetch
        self._prefetched.add(handover.deliveries)

    def _grant_credit(self) -> None:
        """Let the next commit hand over deliveries, if everything due before them is fetched."""
        is_closed = not (self._breaker.is_half_open or self._breaker.is_stopped)
        credit = max(0, self._prefetch_size - len(self._prefetched))
        self._wakeup.grant(credit if is_closed and not self._store_has_more else 0)

    @property
    def _prefetch_size(self) -> int:
        concurrency = self._client.destination.concurrency
        return max(FETCH_SIZE, concurrency, self._prefetched.max_batch_size)

    async def _fetch(self) -> float:
        """Fetch what is due, if too little is prefetched. Returns how long until more is due."""
        now_ns = self._now()
        if self._next_due_ns is not None and self._next_due_ns <= now_ns:
            self._store_has_more, self._next_due_ns = True, None
        if self._breaker.is_stopped:
            return MAX_WAIT_S
        if not self._needs_prefetch():
            return self._due_in_s(now_ns)
        limit, until_ns = self._prefetch_size, now_ns
        if self._breaker.is_half_open:  # the first delivery is the probe, even if not yet due
            if (wait_s := self._breaker.wait_s(now_ns / 1e9)) > 0:
                return wait_s
            limit, until_ns = 1, now_ns + FOREVER_NS
        elif not self._store_has_more:
            return self._due_in_s(now_ns)
        exclude = self._in_flight | self._prefetched.seqs
        due = await self._outbox.fetch_due(self._client.name, until_ns, limit, exclude)
        self._prefetched.add(due.deliveries)
        # Query again after a while in any case: a store that repairs itself notifies no worker.
        again_ns = now_ns + int(MAX_WAIT_S * 1e9)
        self._store_has_more = len(due.deliveries) == limit
        self._next_due_ns = min(due.next_due_ns or again_ns, again_ns)
        self._take_wakeup()  # more may have been committed during the query
        return self._due_in_s(now_ns)

    def _due_in_s(self, now_ns: int) -> float:
        return MAX_WAIT_S if self._next_due_ns is None else (self._next_due_ns - now_ns) / 1e9

    def _needs_prefetch(self) -> bool:
        """Whether less is prefetched than can be sent."""
        if self._breaker.is_half_open:
            return not self._prefetched
        concurrency = self._client.destination.concurrency
        return len(self._prefetched) < max(self._prefetched.max_batch_size, concurrency)

    def _start_attempts(self, attempts: asyncio.TaskGroup) -> float:
        """Start attempts while there is capacity. Returns how long until the next may start."""
        while self._prefetched and self._has_capacity():
            now_s = self._now_s()
            if (wait_s := self._blocked_s(now_s)) > 0:
                return wait_s
            spawn(
                self._deliver(self._take_batch(now_s)),
                f"destination {self.name}: attempt",
                attempts,
            )
        self._rate_limiter.cancel_wait(self)
        return MAX_WAIT_S

    def _blocked_s(self, now_s: float) -> float:
        """Return how long until the next batch may be sent; 0 if it may be sent now."""
        wait_s = max(self._breaker.wait_s(now_s), self._batch_wait_s())
        if wait_s > 0:
            self._rate_limiter.cancel_wait(self)
            return wait_s
        return self._rate_limiter.wait_s(self, now_s)

    def _take_batch(self, now_s: float) -> Batch:
        """Remove the next batch from the buffer; it is in flight from now on."""
        self._rate_limiter.spend(self, now_s)
        batch = self._prefetched.take(self._client.render, now_s, alone=self._breaker.is_half_open)
        self._in_flight.update(delivery.seq for delivery, _ in batch)
        self._open_requests += 1
        return batch

    def _batch_wait_s(self) -> float:
        """Return how long the next batch still waits for more deliveries."""
        if self._stopping or self._breaker.is_half_open:
            return 0.0
        return self._prefetched.wait_s(self._now())

    def _has_capacity(self) -> bool:
        max_requests = 1 if self._breaker.is_half_open else self._client.destination.concurrency
        batch_size = self._prefetched.max_batch_size
        max_in_flight = max_requests * batch_size + MAX_UNACKED
        fits = len(self._in_flight) + batch_size <= max_in_flight
        return self._open_requests < max_requests and fits

    async def _wait(self, max_s: float) -> None:
        """Wait for the wakeup: a commit, an ack, a changed rate limit, `enable` or `stop`."""
        with suppress(TimeoutError), self.loop_monitor.idle():
            async with asyncio.timeout(min(max_s, MAX_WAIT_S)):
                await self._wakeup.wait()

    async def _deliver(self, batch: Batch) -> None:
        """Send a batch, and then what is prefetched, one batch after the other."""
        await self._attempt(batch)
        while self._can_continue():
            batch = self._take_batch(self._now_s())
            if self._store_has_more and self._needs_prefetch():
                self._wakeup.notify()
            await self._attempt(batch)
        self._wake()

    def _can_continue(self) -> bool:
        if self._stopping or self._detaching or not self._prefetched or not self._has_capacity():
            return False
        return self._blocked_s(self._now_s()) == 0

    async def _attempt(self, batch: Batch) -> None:
        started_ns, started_s = self._now(), perf_counter()
        rendered = [(delivery.notification.id, request) for delivery, request in batch]
        try:
            response = await self._client.send_rendered(rendered)
        finally:
            self._open_requests -= 1
        if is_payload_too_large(response, len(batch)):
            self._log.info("batch.too_large", batch=len(batch))
            self._prefetched.requeue(batch, self._now_s())
            self._in_flight.difference_update(delivery.seq for delivery, _ in batch)
            return
        acks = self._classify(batch, response, started_ns)
        duration_s = perf_counter() - started_s
        is_batch = self._client.batch is not None
        fields = log_fields(acks, response, duration_s, is_batch=is_batch)
        self._log.info("delivery.attempted", **fields)
        health_change = self._apply_response(acks, response)
        is_last = not (self._open_requests or self._prefetched)
        self._acks.add(acks, health_change, is_last=is_last)

    def _on_committed(self, seqs: Iterable[int]) -> None:
        """Called when the outcomes of these deliveries are on disk."""
        self._in_flight.difference_update(seqs)
        self._wake()

    def _wake(self) -> None:
        """Wake the loop if it can use new capacity. For retries made due, the outbox wakes it."""
        if self._prefetched or self._store_has_more or self._stopping or self._detaching:
            self._wakeup.notify()

    def _classify(self, batch: Batch, response: Response, started_ns: int) -> Sequence[Ack]:
        """Return the outcome of each delivery.

        All have the same response and random number, and each has its own age and attempts.
        """
        random_fraction, wall_clock_s = self._random_fraction(), time_ns() / 1e9

        def classify_one(delivery: Delivery) -> Outcome:
            age_s = (started_ns - delivery.created_ns) / 1e9
            attempt = Attempt(delivery.attempts, age_s, random_fraction, wall_clock_s)
            return self._client.classify(response, attempt)

        deliveries = [delivery for delivery, _ in batch]
        first = classify_one(deliveries[0])
        if isinstance(first, Delivered):  # which depends on neither age nor attempts
            return [Ack(delivery, first) for delivery in deliveries]
        outcomes, answer = align_retries([*map(classify_one, deliveries)]), response.answer
        pairs = zip(deliveries, outcomes, strict=True)
        return [Ack(delivery, outcome, answer) for delivery, outcome in pairs]

    def _apply_response(self, acks: Sequence[Ack], response: Response) -> HealthChange | None:
        """Count the outcomes, inform the observer, and apply a pause and a change of health."""
        now_s, answered_ns = self._now_s(), time_ns()
        for delivery, outcome, _ in acks:
            self.counters.count_attempt(outcome)
            if isinstance(outcome, Delivered):
                event_ns = delivery.notification.events[0].time_ns
                self.counters.latencies.observe((answered_ns - event_ns) / 1e9)
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

    def _now_s(self) -> float:
        return self._now() / 1e9
