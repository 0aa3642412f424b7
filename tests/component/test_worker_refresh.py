"""A worker that repeats open incidents beside its deliveries."""

import asyncio
import json
from collections.abc import Callable

import pytest

from relay.config import Rate
from relay.core.exchange import Reason, Response
from relay.core.notification import Notification
from relay.core.zone import UTC_ZONE
from relay.delivery.circuit_breaker import FAILURE_THRESHOLD
from relay.delivery.client import DestinationClient
from relay.delivery.queue import MemoryBudget
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.worker import DeliveryWorker
from relay.destinations.alertmanager import AlertmanagerDestination
from relay.store.outbox import Outbox
from tests.component.delivery_worker import (
    WAIT_S,
    Clock,
    ScriptedDestination,
    VirtualTime,
    enqueue,
    enqueue_many,
    run_workers,
    wait_until_empty,
)
from tests.component.observer import RecordingObserver
from tests.unit.destinations.updates import report, resolved, update_of

OPEN = update_of(report())
OVER = update_of(resolved())


class Alertmanager(ScriptedDestination):
    """Records whether each alert fires or is over, in the order in which they came."""

    def __init__(self) -> None:
        super().__init__()
        self.alerts: list[str] = []

    async def send(self, request):  # type: ignore[no-untyped-def]
        for alert in json.loads(request.body):
            self.alerts.append("over" if "resolution" in alert["annotations"] else "fires")
        return await super().send(request)


def make_alerts_worker(
    outbox: Outbox, to: ScriptedDestination, clock: Clock, *rates: Rate
) -> DeliveryWorker:
    """A worker for an Alertmanager, named ``hook`` as in the other tests."""
    destination = AlertmanagerDestination.model_validate({"url": "http://am"})
    render = destination.build_renderer((), print, colour=False, zone=UTC_ZONE)
    client = DestinationClient("hook", destination, render, to)
    observer = RecordingObserver()
    return DeliveryWorker(
        client, outbox, RateLimiter(rates), MemoryBudget(), observer, clock, lambda: 0.5
    )


def still_open() -> Notification:
    return OPEN


async def test_the_end_does_not_overtake_a_refresh(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """It is sent as soon as the refresh is answered; else an alert that is over would fire."""
    to = Alertmanager()
    worker = make_alerts_worker(outbox, to, clock)
    async with run_workers(worker):
        await virtual_time.wait_until_idle()
        to.open.clear()
        worker.refresh([still_open])
        await to.wait_for_count(1)
        await enqueue(outbox, OVER)
        await virtual_time.wait_until_idle()
        assert to.alerts == ["fires"]
        to.open.set()
        await wait_until_empty(outbox)
    assert to.alerts == ["fires", "over"]
    assert to.max_concurrent == 1
    assert worker.counters.refreshes == {"delivered": 1}


async def test_a_refresh_stores_nothing(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """A refresh that fails is neither tried again nor a dead letter, and begins no outage."""
    to = Alertmanager()
    to.answer = lambda _: Response(503)
    worker = make_alerts_worker(outbox, to, clock)
    async with run_workers(worker):
        await virtual_time.wait_until_idle()
        for count in range(1, FAILURE_THRESHOLD + 2):
            worker.refresh([still_open])
            await to.wait_for_count(count)
            await virtual_time.advance(240)
    assert len(to.received) == FAILURE_THRESHOLD + 1
    assert not worker.status.failing
    assert await outbox.pending() == {}
    assert worker.counters.attempts == {}
    assert worker.counters.dead_letters == 0


async def test_no_refresh_while_the_destination_fails(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """The probes of the outage are deliveries; a refresh follows when it is over."""
    to = Alertmanager()
    to.answer = lambda _: Response(None, failure=Reason.CONNECTION, error="refused")
    worker = make_alerts_worker(outbox, to, clock)
    await enqueue_many(outbox, FAILURE_THRESHOLD)
    async with run_workers(worker):
        await virtual_time.wait_until_idle()
        assert worker.status.failing
        before = len(to.received)
        worker.refresh([still_open])
        await virtual_time.wait_until_idle()
        assert len(to.received) == before
        assert worker.counters.refreshes == {"skipped": 1}
        to.answer = lambda _: Response(200)
        await virtual_time.advance(60)
        await wait_until_empty(outbox)
        worker.refresh([still_open])
        await virtual_time.wait_until_idle()
    assert worker.counters.refreshes == {"skipped": 1, "delivered": 1}


@pytest.mark.parametrize("end", [DeliveryWorker.stop, DeliveryWorker.detach])
async def test_a_worker_that_ends_does_not_wait_for_a_refresh(
    outbox: Outbox,
    clock: Clock,
    virtual_time: VirtualTime,
    end: Callable[[DeliveryWorker], None],
) -> None:
    """What waits for the rate limit is given up: the next worker, or the next start, repeats it."""
    to = Alertmanager()
    worker = make_alerts_worker(outbox, to, clock, Rate(1, 3600.0))
    running = asyncio.create_task(worker.run())
    await virtual_time.wait_until_idle()
    worker.refresh([still_open] * 101)
    await to.wait_for_count(1)
    await virtual_time.wait_until_idle()
    end(worker)
    worker.refresh([still_open])
    async with asyncio.timeout(WAIT_S):
        await running
    assert len(to.received) == 1
    assert worker.counters.refreshes == {"delivered": 1, "skipped": 1}


@pytest.mark.parametrize("end", [DeliveryWorker.stop, DeliveryWorker.detach])
async def test_a_worker_that_ends_begins_no_refresh(
    outbox: Outbox,
    clock: Clock,
    virtual_time: VirtualTime,
    end: Callable[[DeliveryWorker], None],
) -> None:
    """From the moment when it is asked to end."""
    to = Alertmanager()
    worker = make_alerts_worker(outbox, to, clock)
    async with run_workers(worker):
        await virtual_time.wait_until_idle()
        end(worker)
        worker.refresh([still_open])
    assert to.received == []
    assert worker.counters.refreshes == {"skipped": 1}


async def test_a_refresh_before_the_worker_sends_is_kept(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """After a start of relay, alerts may be about to expire: the next refresh could be too late."""
    to = Alertmanager()
    worker = make_alerts_worker(outbox, to, clock)
    worker.refresh([still_open])
    worker.refresh([still_open, still_open])
    assert to.received == []
    async with run_workers(worker):
        await to.wait_for_count(1)
        await virtual_time.wait_until_idle()
    assert to.alerts == ["fires", "fires"]
    assert worker.counters.refreshes == {"delivered": 1}
