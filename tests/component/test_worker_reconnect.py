"""A worker whose destination keeps a connection: what a reconnect and its loss change."""

from collections.abc import Callable

import pytest

from relay.core.exchange import Reason, Response
from relay.store.outbox import Outbox
from tests.component.delivery_worker import (
    Clock,
    ScriptedDestination,
    VirtualTime,
    enqueue_many,
    make_worker,
    run_workers,
)

NOT_CONNECTED = Response(None, failure=Reason.CONNECTION, error="not connected: gone")


class ConnectedDestination(ScriptedDestination):
    """Keeps a connection, which the test loses and opens."""

    def __init__(self) -> None:
        super().__init__(lambda _: Response(200) if self.problem is None else NOT_CONNECTED)
        self.problem: str | None = None
        self.calls: list[Callable[[], None]] = []

    def on_open(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def reconnect(self) -> None:
        """The connection is open again."""
        self.problem = None
        for call in self.calls:
            call()


@pytest.fixture
def to() -> ConnectedDestination:
    return ConnectedDestination()


async def test_a_reconnect_does_not_wait_for_the_next_probe(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime, to: ConnectedDestination
) -> None:
    """All that waits is sent at that moment, not up to a minute later."""
    to.problem = "gone"
    worker = make_worker(outbox, to, clock)
    async with run_workers(worker):
        await enqueue_many(outbox, 10)
        for _ in range(200):
            await virtual_time.advance(0.5)
        assert worker.status.failing
        assert worker.status.last_failure == "not connected: gone"
        attempts = len(to.received)
        to.reconnect()
        await virtual_time.wait_until_idle()
        assert (await outbox.pending()).get("hook", 0) == 0
    assert len(to.received) == attempts + 10
    assert not worker.status.failing
    assert worker.status.last_failure is None


async def test_a_reconnect_makes_retries_due(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime, to: ConnectedDestination
) -> None:
    """Those of the few failures that are no outage yet, too."""
    to.problem = "gone"
    worker = make_worker(outbox, to, clock, retry={"initial": "1h", "max": "2h"})
    async with run_workers(worker):
        await enqueue_many(outbox, 2)
        await virtual_time.wait_until_idle()
        to.reconnect()
        await virtual_time.wait_until_idle()
        assert (await outbox.pending()).get("hook", 0) == 0
    assert len(to.received) == 4


async def test_the_status_says_that_there_is_no_connection(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime, to: ConnectedDestination
) -> None:
    """Before anything is to be sent, as a wrong password would otherwise show with an event."""
    worker = make_worker(outbox, to, clock)
    async with run_workers(worker):
        assert worker.status.is_well
        to.problem = "refused the login"
        assert worker.status.not_connected == "refused the login"
        assert not worker.status.is_well
        to.reconnect()
        await virtual_time.wait_until_idle()
        assert worker.status.is_well
