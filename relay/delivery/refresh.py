"""Repeats the open incidents of a service whose alerts expire, such as Alertmanager.

A refresh is no delivery: it is in no store, it is not tried again, and it becomes no dead letter,
because the next one follows within minutes and says the same. While a request of a refresh is made,
from its first incident to its answer, the worker sends no delivery: if the end of an incident
overtook a request that says it is open, its alert would fire again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from time import time_ns

import structlog

from relay.core.exchange import Delivered, Outcome, Reason, Request, Response
from relay.core.notification import Repeat
from relay.delivery.attempt import answer_excerpt
from relay.delivery.batching import MAX_BODY_BYTES, BatchBuilder, batch_id
from relay.delivery.circuit_breaker import root_reason
from relay.delivery.client import DestinationClient
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.retry import Attempt

log = structlog.get_logger()

RENDERED_AT_ONCE = 10
"""After so many, other tasks get their turn: each alert takes a fraction of a millisecond."""

_ONE_REFUSED = (Reason.REFUSED, Reason.REJECTED)
"""The destination did not accept this request; it may accept the next one."""


class Refresher:
    """Repeats the open incidents of one destination, in one request after the other."""

    def __init__(
        self,
        get_client: Callable[[], DestinationClient],
        rate_limiter: RateLimiter,
        may_send: Callable[[], bool],
        now: Callable[[], int],
    ) -> None:
        """``now`` is the clock of the rate limiter."""
        self._get_client = get_client
        self._rate_limiter = rate_limiter
        self._may_send = may_send
        self._now = now
        self._is_running = False
        self._wakeup = asyncio.Event()
        self.is_sending = False
        """Whether a request is made, so that no delivery may be sent."""

    def start(self) -> bool:
        """Begin a refresh. Returns False if another one runs, or nothing may be sent."""
        if self._is_running or not self._may_send():
            client = self._get_client()
            client.counters.refreshes["skipped"] += 1
            log.debug("refresh.skipped", destination=client.name, is_running=self._is_running)
            return False
        self._is_running = True
        return True

    def wake(self) -> None:
        """End a wait for the rate limit: a request may be sent now, or requests no longer may."""
        self._wakeup.set()

    async def run(self, incidents: Iterable[Repeat], on_answer: Callable[[], None]) -> None:
        """Repeat incidents, after `start`. ``on_answer`` is called after each request.

        It ends early if the destination does not answer, or is too busy.
        """
        waiting = deque(incidents)
        self._rate_limiter.on_change(self.wake)
        try:
            while await self._wait_for_turn(waiting):
                self._rate_limiter.spend(self, self._now() / 1e9)
                self.is_sending = True
                try:
                    outcome = await self._send(await self._take(waiting))
                finally:
                    self.is_sending = False
                    on_answer()
                if not isinstance(outcome, Delivered) and root_reason(outcome) not in _ONE_REFUSED:
                    break
        finally:
            self._rate_limiter.unregister(self, self.wake)
            self._is_running = False

    async def _wait_for_turn(self, waiting: deque[Repeat]) -> bool:
        """Wait until the rate limit allows a request, and remove incidents that are over by then.

        Returns False if none are left, or nothing may be sent.
        """
        while self._may_send():
            while waiting and waiting[0]() is None:
                waiting.popleft()
            if not waiting:
                return False
            self._wakeup.clear()
            wait_s = self._rate_limiter.wait_s(self, self._now() / 1e9)
            if wait_s <= 0:
                return True
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wakeup.wait()
        return False

    async def _take(self, waiting: deque[Repeat]) -> list[Request]:
        """Render the next incidents that are still open and share a request, and remove them.

        A template in a header may give each incident its own. The first one is open.
        """
        client = self._get_client()
        batch = BatchBuilder(client.destination.max_refreshed, MAX_BODY_BYTES)
        requests: list[Request] = []
        while waiting and not batch.is_full:
            notification = waiting[0]()
            if notification is not None:
                request = client.render(notification)
                if requests and _envelope(request) != _envelope(requests[0]):
                    break
                if not batch.try_add(len(request.body), 0):
                    break
                requests.append(request)
            waiting.popleft()
            if len(requests) % RENDERED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return requests

    async def _send(self, requests: Sequence[Request]) -> Outcome:
        """Send one request, and count, log and return its outcome."""
        client = self._get_client()
        # Each request has an id of its own: a receiver that knows the id would drop it.
        id_ = batch_id([client.name, str(time_ns())])
        response = await client.send_rendered([(id_, client.destination.join_refresh(requests))])
        outcome = client.classify(response, Attempt(0, 0.0, 0.5, time_ns() / 1e9))
        if outcome.pause_s > 0:
            self._rate_limiter.pause(self._now() / 1e9 + outcome.pause_s)
        is_delivered = isinstance(outcome, Delivered)
        client.counters.refreshes["delivered" if is_delivered else "failed"] += 1
        _log_answer(client.name, len(requests), response, outcome)
        return outcome


def _log_answer(name: str, count: int, response: Response, outcome: Outcome) -> None:
    """Write the one log line of a request; a success is expected, so it is at debug level."""
    if isinstance(outcome, Delivered):
        log.debug("refresh.sent", destination=name, incidents=count)
        return
    log.info(
        "refresh.failed",
        destination=name,
        incidents=count,
        status=response.status,
        reason=root_reason(outcome).value,
        error=response.error,
        answer=answer_excerpt(response) or None,
    )


def _envelope(request: Request) -> tuple[str, str, Mapping[str, str]]:
    return request.method, request.url, request.headers
