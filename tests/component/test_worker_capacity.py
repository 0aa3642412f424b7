"""Which deliveries a worker sends at the same time."""

from relay.core.exchange import Request, Response
from relay.store.outbox import Outbox, open_outbox
from tests.component.delivery_worker import (
    Clock,
    ScriptedDestination,
    VirtualTime,
    enqueue,
    enqueue_many,
    make_worker,
    run_workers,
    sample_notification,
    wait_until_empty,
    wait_until_pending,
)


async def test_a_hot_container_does_not_starve_others(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """A delivery committed behind a thousand about one container is sent second."""
    to = ScriptedDestination()
    to.open.clear()
    await enqueue(outbox, *(sample_notification(number, "hot") for number in range(1000)))
    quiet = sample_notification(1000, "quiet")
    await enqueue(outbox, quiet)
    async with run_workers(make_worker(outbox, to, clock, concurrency=1)):
        await to.wait_for_count(1)
        to.open.set()
        await to.wait_for_count(2)
        assert to.received[1] == quiet.id
        await wait_until_empty(outbox)


async def test_unordered_deliveries_of_one_container_go_in_parallel(clock: Clock) -> None:
    """With ``ordering: none`` each delivery stands for itself."""
    to = ScriptedDestination()
    to.open.clear()
    async with open_outbox(None, unordered=["hook"]) as outbox:
        await enqueue(outbox, *(sample_notification(number) for number in range(4)))
        async with run_workers(make_worker(outbox, to, clock, ordering="none", concurrency=4)):
            await to.wait_for_count(4)
            to.open.set()
            await wait_until_empty(outbox)
    assert to.max_concurrent == 4


async def test_free_capacity_is_used_at_once(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """While some requests hang and the buffer is empty, more is fetched."""
    to = ScriptedDestination()
    hanging = {sample_notification(number, str(number)).id for number in range(4)}
    to.open.clear()
    await enqueue_many(outbox, 100)
    worker = make_worker(outbox, to, clock, concurrency=8)
    original_send = to.send

    async def send(request: Request) -> Response:
        if request.headers["webhook-id"] in hanging:
            return await original_send(request)
        to.received.append(request.headers["webhook-id"])
        return Response(200)

    to.send = send  # type: ignore[method-assign]
    async with run_workers(worker):
        await wait_until_pending(outbox, 4)
        to.open.set()
        await wait_until_empty(outbox)
