"""Workers whose batches are too large for a destination, would be, or fail."""

import asyncio
from collections import Counter
from itertools import chain
from typing import Any

from relay.core.exchange import Reason, Response
from relay.core.notification import Notification
from relay.core.status import DestinationStatus
from relay.store.outbox import Outbox
from relay.store.records import Selection
from tests.component.batch_samples import (
    BATCH_OF_FOUR,
    MS,
    NO_JITTER,
    ids,
    refuse_above,
    sample_notifications,
)
from tests.component.delivery_worker import (
    BatchDestination,
    Clock,
    VirtualTime,
    enqueue,
    make_worker,
    run_workers,
    sample_notification,
    wait_until_empty,
)


async def test_a_batch_that_is_too_large_is_split_at_once(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """It is halved until it fits, without a wait, and no delivery counts as failed."""
    to, notifications = BatchDestination(refuse_above(2)), sample_notifications(8)
    worker = make_worker(outbox, to, clock, batch={"max": 8, "wait": "5s"}, concurrency=1)
    async with run_workers(worker):
        await enqueue(outbox, *notifications)
        await wait_until_empty(outbox)
        assert worker.status == DestinationStatus()
    assert to.sizes == [8, 4, 2, 2, 2, 2]
    assert list(chain(*to.batches[2:])) == ids(notifications)
    assert worker.counters.attempts == Counter({("delivered", Reason.OK): 8})


async def test_a_size_that_was_too_large_is_remembered(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """It is avoided for an hour; then twice the size is tried."""
    to = BatchDestination(refuse_above(2))
    async with run_workers(
        make_worker(outbox, to, clock, batch={"max": 4, "wait": "0s"}, concurrency=1)
    ):
        await enqueue(outbox, *sample_notifications(4))
        await wait_until_empty(outbox)
        await enqueue(outbox, *sample_notifications(4, first=4))
        await wait_until_empty(outbox)
        assert to.sizes == [4, 2, 2, 2, 2]
        clock.now_ns += 3600 * 1000 * MS
        await enqueue(outbox, *sample_notifications(4, first=8))
        await wait_until_empty(outbox)
    assert to.sizes[5:] == [4, 2, 2]


async def test_a_single_notification_that_is_too_large_is_refused(
    outbox: Outbox, clock: Clock
) -> None:
    """It becomes a dead letter, as without batches; the rest of its batch is delivered."""
    notifications = sample_notifications(8)
    to = BatchDestination(lambda inside: Response(413 if notifications[5].id in inside else 200))
    await enqueue(outbox, *notifications)
    async with run_workers(make_worker(outbox, to, clock, batch={"max": 8, "wait": "0s"})):
        await wait_until_empty(outbox)
    (dead_letter,) = await outbox.dead_letters(Selection(), 9)
    assert (dead_letter.notification, dead_letter.attempts, dead_letter.reason) == (
        notifications[5],
        1,
        "refused",
    )


async def test_a_stop_during_a_split_loses_nothing(outbox: Outbox, clock: Clock) -> None:
    """What was too large stays in the store, due and without an attempt."""
    to, notifications = BatchDestination(refuse_above(2)), sample_notifications(4)
    to.open.clear()
    await enqueue(outbox, *notifications)
    async with run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR)):
        await to.wait_for_count(1)
        asyncio.get_running_loop().call_later(0.01, to.open.set)
    assert to.sizes == [4]
    waiting = await outbox.waiting("hook", 9)
    assert [(each.notification, each.attempts, each.reason) for each in waiting] == [
        (each, 0, None) for each in notifications
    ]


async def test_a_body_stays_below_its_limit(outbox: Outbox, clock: Clock) -> None:
    """What would make a body larger than 1 MiB goes into the next one, and is rendered once."""
    to = BatchDestination()
    notifications = [sample_notification(number, f"{number:->200000}") for number in range(4)]
    await enqueue(outbox, *notifications)
    worker = make_worker(outbox, to, clock, batch={"wait": "0s"}, concurrency=1)
    rendered, render = list[str](), worker._client.render

    def counting(notification: Notification) -> Any:
        rendered.append(notification.id)
        return render(notification)

    worker.set_renderer(counting)
    async with run_workers(worker):
        await wait_until_empty(outbox)
    assert to.sizes == [2, 2]
    assert rendered == ids(notifications)


async def test_a_notification_that_always_fails_ends_up_alone(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """Each failed attempt halves how many go with it, so the others are delivered."""
    notifications = sample_notifications(16)
    to = BatchDestination(lambda inside: Response(500 if notifications[7].id in inside else 200))
    await enqueue(outbox, *notifications)
    async with run_workers(
        make_worker(outbox, to, clock, batch={"max": 16, "wait": "0s"}, retry=NO_JITTER)
    ):
        while (await outbox.pending())["hook"] > 1 or to.batches[-1] != [notifications[7].id]:
            await virtual_time.advance(20)
    assert [each.notification for each in await outbox.waiting("hook", 99)] == [notifications[7]]
