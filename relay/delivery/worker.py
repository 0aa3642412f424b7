"""Loop 2: what is due is sent, judged and settled, in one lane per destination."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter, time_ns
from typing import Protocol

import structlog

from relay.core.counters import DestinationCounters
from relay.core.exchange import Delivered, Outcome, Reason, Response
from relay.core.liveness import LoopMonitor
from relay.core.status import DestinationStatus
from relay.delivery.acks import AckBatcher
from relay.delivery.attempt_log import count_dead_letters, describe_failure, log_fields
from relay.delivery.batching import align_retries, is_payload_too_large
from relay.delivery.circuit_breaker import CircuitBreaker, HealthChange, root_reason
from relay.delivery.client import DestinationClient
from relay.delivery.prefetch import Batch, PrefetchBuffer
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.retry import Attempt
from relay.destinations.catalog import Renderer
from relay.store.records import Ack, Delivery, Outbox

log = structlog.get_logger()

FETCH_SIZE = 64
"""How many deliveries are fetched from the store at once, where no more go in one request."""

MAX_UNACKED = 32
"""How many that were answered may wait for the store, which takes them in together; after a crash
they are sent once more."""

MAX_WAIT_S = 60.0
"""The longest wait for a due time, and how often what is too old is looked for."""

FOREVER_NS = 10**18
"""Longer than anything waits."""


class DestinationObserver(Protocol):
    """Who is told what becomes of a destination; nothing of it waits."""

    def health_changed(
        self, change: HealthChange, destination: str, facts: Mapping[str, str]
    ) -> None:
        """It began to fail, or works again."""
        ...

    def dead_lettered(self, destination: str, reason: Reason, count: int = 1) -> None:
        """Deliveries were given up."""
        ...


class DeliveryWorker:
    """Delivers to one destination, several at a time, those about one subject in order."""

    def __init__(
        self,
        client: DestinationClient,
        outbox: Outbox,
        rate_limiter: RateLimiter,
        observer: DestinationObserver,
        now: Callable[[], int],
        random_fraction: Callable[[], float],
    ) -> None:
        """``now`` is the clock by which deliveries are due; ``chance`` as in `Attempt`."""
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
        """Whether the store may have something that is due and is not at hand."""
        self._next_due_ns: int | None = None
        """When something will be due that was not when the store was asked last."""
        self._in_flight: set[int] = set()
        """Those that are sent, and those whose outcome is not in the store yet."""
        self._open_requests = 0
        """How many requests are under way."""
        self._acks = AckBatcher(client.name, outbox, now, self._on_committed)
        self._breaker = CircuitBreaker(client.destination.retry)
        self._expired_at_s = float("-inf")
        self._enable_requested = False
        self._stopping = False
        self._detaching = False
        self.loop_monitor = LoopMonitor()

    @property
    def counters(self) -> DestinationCounters:
        """What came of the attempts so far."""
        return self._client.counters

    @property
    def name(self) -> str:
        """The destination's."""
        return self._client.name

    @property
    def status(self) -> DestinationStatus:
        """How the destination is."""
        now_s = self._now_s()
        is_stopped, is_failing = self._breaker.is_stopped, self._breaker.is_failing
        wait_s = max(
            self._rate_limiter.paused_for_s(now_s),
            0.0 if is_stopped else self._breaker.wait_s(now_s),
        )
        resumes_ns = self._now() + int(wait_s * 1e9) if wait_s else None
        return DestinationStatus(is_stopped, is_failing, resumes_ns)

    def enable(self) -> bool:
        """Send again at once, whatever the destination asked for; whether that was to wait."""
        was_waiting = self.status != DestinationStatus()
        self._breaker.enable(self._now_s())
        self._rate_limiter.end_pause()
        self._enable_requested = True
        self._wakeup.notify()
        return was_waiting

    async def run(self) -> None:
        """Deliver until told to stop; then return when what is under way is settled."""
        await self._restore_state()
        try:
            async with asyncio.TaskGroup() as acking:
                acking.create_task(self._acks.run())
                async with asyncio.TaskGroup() as attempts:
                    await self._run_loop(attempts)
                self._acks.close()
        finally:
            self._rate_limiter.unregister(self, self._wakeup.notify)

    async def _run_loop(self, attempts: asyncio.TaskGroup) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping
            self._wakeup.clear()
            self._take_wakeup()
            await self._apply_enable()
            await self._expire_old()
            due_in_s = await self._fetch()
            if self._detaching:
                self._rate_limiter.cancel_wait(
                    self
                )  # it has no turn while what is under way is settled
                return
            blocked_s = self._start_attempts(attempts)
            if self._store_has_more and self._needs_prefetch() and self._can_start():
                continue
            if not self._stopping:
                self._grant_credit()
                await self._wait(min(due_in_s, blocked_s))

    def stop(self) -> None:
        """Begin what is due and finds room, once more, and then no further attempt."""
        self._stopping = True
        self._wakeup.notify()

    def detach(self) -> None:
        """Begin no further attempt: another lane goes on, or none."""
        self._detaching = True
        self._wakeup.notify()

    def set_renderer(self, render: Renderer) -> None:
        """Say it so from here on."""
        self._client = replace(self._client, render=render)

    async def _restore_state(self) -> None:
        """What the destination asked for holds across a restart, and an episode goes on."""
        self._wakeup.take()  # what another lane was told
        now_ns = self._now()
        since_ns = (await self._outbox.outages()).get(self.name)
        if since_ns is not None:
            self._breaker.restore(since_ns / 1e9, now_ns / 1e9)
        until_ns = (await self._outbox.pauses(now_ns)).get(self.name)
        if until_ns is not None:
            max_s = self._client.destination.retry.max_after.total_seconds()
            self._rate_limiter.pause(min(until_ns / 1e9, now_ns / 1e9 + max_s))

    async def _apply_enable(self) -> None:
        """After `enable`: nothing that waits goes on waiting."""
        if self._enable_requested:
            self._enable_requested = False
            await self._outbox.end_pause(self.name)
            await self._outbox.retry_now(self.name, self._now())

    async def _expire_old(self) -> None:
        """Give up what is too old, where no attempt will: while the destination takes nothing."""
        now_s = self._now_s()
        is_blocked = self._breaker.is_failing or self._rate_limiter.paused_for_s(now_s) > 0
        if not is_blocked or now_s < self._expired_at_s + MAX_WAIT_S:
            return
        self._take_wakeup()
        self._prefetched.clear()  # what is under way is known, what is at hand would not be
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
        """Take what was handed over: nothing of it was fetched, for then there is no room."""
        handover = self._wakeup.take()
        self._store_has_more |= handover.needs_fetch
        self._prefetched.add(handover.deliveries)

    def _grant_credit(self) -> None:
        """Let what is committed next be handed over, where nothing that is due comes before it."""
        caught_up = not (
            self._store_has_more or self._breaker.is_half_open or self._breaker.is_stopped
        )
        self._wakeup.grant(max(0, self._prefetch_size - len(self._prefetched)) if caught_up else 0)

    @property
    def _prefetch_size(self) -> int:
        return max(
            FETCH_SIZE, self._client.destination.concurrency, self._prefetched.max_batch_size
        )

    async def _fetch(self) -> float:
        """Get what is due, if too little is at hand; in how many seconds there will be more."""
        now_ns = self._now()
        if self._next_due_ns is not None and self._next_due_ns <= now_ns:
            self._store_has_more, self._next_due_ns = True, None
        if self._breaker.is_stopped:
            return MAX_WAIT_S
        if not self._needs_prefetch():
            return self._due_in_s(now_ns)
        limit, until_ns = self._prefetch_size, now_ns
        if self._breaker.is_half_open:  # whatever is first finds out, when it is time for that
            if (wait_s := self._breaker.wait_s(now_ns / 1e9)) > 0:
                return wait_s
            limit, until_ns = 1, now_ns + FOREVER_NS
        elif not self._store_has_more:
            return self._due_in_s(now_ns)
        known = self._in_flight | self._prefetched.seqs
        due = await self._outbox.fetch_due(self._client.name, until_ns, limit, known)
        self._prefetched.add(due.deliveries)
        again_ns = now_ns + int(MAX_WAIT_S * 1e9)  # whatever nobody told of
        self._store_has_more = len(due.deliveries) == limit
        self._next_due_ns = min(due.next_due_ns or again_ns, again_ns)
        self._take_wakeup()  # more may have come meanwhile
        return self._due_in_s(now_ns)

    def _due_in_s(self, now_ns: int) -> float:
        return MAX_WAIT_S if self._next_due_ns is None else (self._next_due_ns - now_ns) / 1e9

    def _can_start(self) -> bool:
        """Whether an attempt would begin, if there were something to send."""
        return self._has_capacity() and self._breaker.wait_s(self._now_s()) == 0

    def _needs_prefetch(self) -> bool:
        """Whether fewer are at hand than can be sent."""
        least = max(self._prefetched.max_batch_size, self._client.destination.concurrency)
        return len(self._prefetched) < (1 if self._breaker.is_half_open else least)

    def _start_attempts(self, attempts: asyncio.TaskGroup) -> float:
        """Begin attempts while there is room; in how many seconds the next may begin."""
        while self._prefetched and self._has_capacity():
            now_s = self._now_s()
            if (wait_s := self._blocked_s(now_s)) > 0:
                return wait_s
            attempts.create_task(self._deliver(self._take_batch(now_s)))
        self._rate_limiter.cancel_wait(self)
        return MAX_WAIT_S

    def _blocked_s(self, now_s: float) -> float:
        """How long until what is at hand may be sent; 0 if it may go now."""
        wait_s = max(self._breaker.wait_s(now_s), self._batch_wait_s())
        if wait_s > 0:
            self._rate_limiter.cancel_wait(self)
            return wait_s
        return self._rate_limiter.wait_s(self, now_s)

    def _take_batch(self, now_s: float) -> Batch:
        """What goes in the next request."""
        self._rate_limiter.spend(self, now_s)
        batch = self._prefetched.take(self._client.render, now_s, alone=self._breaker.is_half_open)
        self._in_flight.update(delivery.seq for delivery, _ in batch)
        self._open_requests += 1
        return batch

    def _batch_wait_s(self) -> float:
        """How long the first that is at hand still waits for others to go with it."""
        if self._stopping or self._breaker.is_half_open:
            return 0.0
        return self._prefetched.wait_s(self._now())

    def _has_capacity(self) -> bool:
        max_requests = 1 if self._breaker.is_half_open else self._client.destination.concurrency
        batch_size = self._prefetched.max_batch_size
        fits = len(self._in_flight) + batch_size <= max_requests * batch_size + MAX_UNACKED
        return self._open_requests < max_requests and fits

    async def _wait(self, max_s: float) -> None:
        """Wait for news: something was committed or settled, or it is time to stop."""
        try:
            with self.loop_monitor.idle():
                async with asyncio.timeout(min(max_s, MAX_WAIT_S)):
                    await self._wakeup.wait()
        except TimeoutError:
            pass

    async def _deliver(self, batch: Batch) -> None:
        """Send a batch, and then what is at hand, one after the other."""
        await self._attempt(batch)
        while self._can_continue():
            batch = self._take_batch(self._now_s())
            if self._store_has_more and self._needs_prefetch():
                self._wakeup.notify()
            await self._attempt(batch)
        self._wake()

    def _can_continue(self) -> bool:
        ends = self._stopping or self._detaching
        waits = not self._prefetched or not self._has_capacity()
        return not ends and not waits and self._blocked_s(self._now_s()) == 0

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
        settled = self._classify(batch, response, started_ns)
        duration_s = perf_counter() - started_s
        is_batch = self._client.batch is not None
        self._log.info(
            "delivery.attempted", **log_fields(settled, response, duration_s, is_batch=is_batch)
        )
        health_change = self._apply_response(settled, response)
        self._acks.add(
            settled, health_change, is_last=not (self._open_requests or self._prefetched)
        )

    def _on_committed(self, seqs: Iterable[int]) -> None:
        """These are on disk."""
        self._in_flight.difference_update(seqs)
        self._wake()

    def _wake(self) -> None:
        """There is room. What is due because something was settled, the outbox tells."""
        if self._prefetched or self._store_has_more or self._stopping or self._detaching:
            self._wakeup.notify()

    def _classify(self, batch: Batch, response: Response, started_ns: int) -> Sequence[Ack]:
        """What became of each; by one response, one throw of the dice, and its own history."""
        random_fraction, wall_clock_s = self._random_fraction(), time_ns() / 1e9

        def classify_one(delivery: Delivery) -> Outcome:
            age_s = (started_ns - delivery.created_ns) / 1e9
            attempt = Attempt(delivery.attempts, age_s, random_fraction, wall_clock_s)
            return self._client.classify(response, attempt)

        deliveries = [delivery for delivery, _ in batch]
        first = classify_one(deliveries[0])
        if isinstance(first, Delivered):  # no history changes that
            return [Ack(delivery, first) for delivery in deliveries]
        outcomes, answer = align_retries([*map(classify_one, deliveries)]), response.answer
        pairs = zip(deliveries, outcomes, strict=True)
        return [Ack(delivery, outcome, answer) for delivery, outcome in pairs]

    def _apply_response(self, settled: Sequence[Ack], response: Response) -> HealthChange | None:
        """Do what one response means for all that goes to the destination."""
        now_s, answered_ns = self._now_s(), time_ns()
        for delivery, outcome, _ in settled:
            self.counters.count_attempt(outcome)
            if isinstance(outcome, Delivered):
                happened_ns = delivery.notification.events[0].time_ns
                self.counters.latencies.observe((answered_ns - happened_ns) / 1e9)
        outcome = settled[0].outcome  # of the destination each says the same
        if not isinstance(outcome, Delivered):  # else all of them are
            for reason, count in count_dead_letters(settled).items():
                self._observer.dead_lettered(self.name, reason, count)
        if outcome.pause_s > 0:
            self._rate_limiter.pause(now_s + outcome.pause_s)
        failed_for_s = self._breaker.failed_for_s(now_s)
        change = self._breaker.record_outcome(outcome, now_s, self._random_fraction())
        match change:
            case HealthChange.FAILING:
                facts = {
                    "why": root_reason(outcome).value,
                    "reason": describe_failure(response, outcome),
                }
                self._observer.health_changed(change, self.name, facts)
            case HealthChange.RECOVERED:
                self._observer.health_changed(
                    change, self.name, {"failed_for_s": f"{failed_for_s:.0f}"}
                )
        return change

    def _now_s(self) -> float:
        return self._now() / 1e9
