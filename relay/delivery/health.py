"""The health of one destination: its outages and pauses, and the deliveries that are too old.

Each response is counted. It can pause the destination, and it can begin or end an outage. Outages
and pauses are stored, so that they continue after a restart and in the next worker. While one lasts
nothing is sent, so deliveries that are too old are given up without an attempt.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from time import time_ns
from typing import Protocol

import structlog

from relay.core.exchange import Dead, Delivered, Outcome, Reason, Response, Retry
from relay.core.status import DestinationStatus
from relay.delivery.attempt import count_dead_letters, describe_failure, health_change_facts
from relay.delivery.circuit_breaker import CircuitBreaker, HealthChange, root_reason
from relay.delivery.client import DestinationClient
from relay.delivery.rate_limit import RateLimiter
from relay.store.outbox import Outbox
from relay.store.records import Ack

log = structlog.get_logger()

EXPIRE_INTERVAL_S = 60.0
"""How often the worker looks for deliveries that are too old while nothing is sent."""


class DestinationObserver(Protocol):
    """Is informed of the outages and dead letters of destinations. No method waits."""

    def health_changed(
        self, change: HealthChange, destination: str, facts: Mapping[str, str]
    ) -> None:
        """An outage of the destination began or ended."""
        ...

    def dead_lettered(self, destination: str, reason: Reason, count: int = 1) -> None:
        """Deliveries were given up."""
        ...

    def message_settled(
        self, destination: str, message_id: str, given_up: Reason | None = None
    ) -> None:
        """A message about incidents was delivered, or given up for this reason."""
        ...


class DestinationHealth:
    """Whether a destination works, and what to do if it does not."""

    def __init__(
        self,
        client: DestinationClient,
        outbox: Outbox,
        rate_limiter: RateLimiter,
        observer: DestinationObserver,
        now: Callable[[], int],
    ) -> None:
        self._destination = client.name
        self._policy = client.destination.retry
        self._counters = client.counters
        self._outbox = outbox
        self._rate_limiter = rate_limiter
        self._observer = observer
        self._now = now
        self.breaker = CircuitBreaker(self._policy)
        self._is_enable_requested = False
        self._has_accepted = False
        """Whether the destination has accepted anything."""
        self._first_failure: str | None = None
        """Why the last attempt failed; None once the destination has accepted something."""
        self._last_failure: str | None = None
        """Why the last attempt failed; None if it did not."""
        self._connection = client.connection
        self._expired_at_s = float("-inf")
        """When the store last had none that is too old."""

    @property
    def status(self) -> DestinationStatus:
        """Whether the destination is stopped, failing or paused, or has never worked yet."""
        now_s, breaker = self._now_s(), self.breaker
        probe_in_s = 0.0 if breaker.is_stopped else breaker.wait_s(now_s)
        wait_s = max(self._rate_limiter.paused_for_s(now_s), probe_in_s)
        resumes_ns = self._now() + int(wait_s * 1e9) if wait_s else None
        return DestinationStatus(
            breaker.is_stopped,
            breaker.is_failing,
            resumes_ns,
            first_failure=None if breaker.is_failing else self._first_failure,
            last_failure=self._last_failure if breaker.is_failing else None,
            not_connected=None if self._connection is None else self._connection.problem,
        )

    async def restore(self) -> None:
        """Continue an outage and a pause that began in another process or worker."""
        now_ns = self._now()
        failing_since_ns = (await self._outbox.outages()).get(self._destination)
        if failing_since_ns is not None:
            self.breaker.restore(failing_since_ns / 1e9, now_ns / 1e9)
        until_ns = (await self._outbox.pauses(now_ns)).get(self._destination)
        if until_ns is not None:
            max_s = self._policy.max_after.total_seconds()
            self._rate_limiter.pause(min(until_ns / 1e9, now_ns / 1e9 + max_s))

    def enable(self) -> bool:
        """End a stop (410), a pause and the wait for a probe.

        `apply_enable` does the rest. Returns whether the destination was stopped, paused or
        failing.
        """
        status = self.status
        was_waiting = status.stopped or status.failing or status.resumes_ns is not None
        self.breaker.enable(self._now_s())
        self._rate_limiter.end_pause()
        self._is_enable_requested = True
        return was_waiting

    async def apply_enable(self) -> None:
        """After `enable`: end the pause in the store, and make all retries due."""
        if self._is_enable_requested:
            self._is_enable_requested = False
            await self._outbox.end_pause(self._destination)
            await self._outbox.retry_now(self._destination, self._now())

    def record(
        self, acks: Sequence[Ack], response: Response, random_fraction: float
    ) -> HealthChange | None:
        """Count the outcomes of a request, inform the observer, and apply a pause.

        Returns the change if an outage began or ended; `save` stores it. ``random_fraction`` is
        from 0 to 1, for the jitter of probes.
        """
        now_s, answered_ns = self._now_s(), time_ns()
        for delivery, outcome, _ in acks:
            self._counters.count_attempt(outcome)
            if isinstance(outcome, Delivered):
                event_ns = delivery.notification.events[0].time_ns
                self._counters.latencies.observe((answered_ns - event_ns) / 1e9)
            if delivery.notification.update is not None and not isinstance(outcome, Retry):
                given_up = outcome.reason if isinstance(outcome, Dead) else None
                message_id = delivery.notification.id
                self._observer.message_settled(self._destination, message_id, given_up)
        outcome = acks[0].outcome  # all outcomes say the same of the destination
        if isinstance(outcome, Delivered):
            self._has_accepted, self._first_failure, self._last_failure = True, None, None
        else:
            self._last_failure = describe_failure(response, outcome)
            self._note_first_failure(response, outcome)
            for reason, count in count_dead_letters(acks).items():
                self._observer.dead_lettered(self._destination, reason, count)
        if outcome.pause_s > 0:
            self._rate_limiter.pause(now_s + outcome.pause_s)
        failed_for_s = self.breaker.failed_for_s(now_s)
        change = self.breaker.record_outcome(outcome, now_s, random_fraction)
        if change is not None:
            facts = health_change_facts(change, response, outcome, failed_for_s)
            self._observer.health_changed(change, self._destination, facts)
        return change

    def _note_first_failure(self, response: Response, outcome: Outcome) -> None:
        """Report at once that a new destination does not work: its configuration may be wrong.

        A pause that it asks for (429) is no failure, nor is a lack of file descriptors.
        """
        why = root_reason(outcome)
        if self._has_accepted or why in (Reason.RATE_LIMITED, Reason.EXHAUSTED):
            return
        text = describe_failure(response, outcome)
        if self._first_failure is None:
            log.warning(
                "destination.first_failed",
                destination=self._destination,
                why=why.value,
                reason=text,
            )
        self._first_failure = text

    async def save(self, change: HealthChange) -> None:
        """Store that an outage began, or that it ended; then all retries are due."""
        match change:
            case HealthChange.FAILING:
                await self._outbox.begin_outage(self._destination, self._now())
            case HealthChange.RECOVERED:
                await self._outbox.end_outage(self._destination)
                await self._outbox.retry_now(self._destination, self._now())

    def is_expiry_due(self) -> bool:
        """Whether to look for deliveries that are too old now.

        Only during an outage or a pause: at other times their next attempt gives them up.
        """
        now_s = self._now_s()
        is_blocked = self.breaker.is_failing or self._rate_limiter.paused_for_s(now_s) > 0
        return is_blocked and now_s >= self._expired_at_s + EXPIRE_INTERVAL_S

    async def expire(self, in_flight: Collection[int]) -> None:
        """Give up deliveries that are too old, except those ``in_flight`` and their successors."""
        now_ns = self._now()
        before_ns = now_ns - int(self._policy.max_age.total_seconds() * 1e9)
        expired = await self._outbox.expire(self._destination, before_ns, now_ns, in_flight)
        if not expired.count:
            self._expired_at_s = now_ns / 1e9
            return
        self._counters.expired += expired.count
        log.warning("delivery.expired", destination=self._destination, count=expired.count)
        for destination, message_id in expired.messages:
            self._observer.message_settled(destination, message_id, Reason.EXPIRED)
        if others := expired.count - expired.self_events:
            self._observer.dead_lettered(self._destination, Reason.EXPIRED, others)

    def _now_s(self) -> float:
        return self._now() / 1e9
