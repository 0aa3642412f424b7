"""Lanes whose requests are too large for a destination, or would be."""

import asyncio
from collections import Counter
from itertools import chain
from typing import Any

from relay.core.exchange import Reason, Response
from relay.core.notification import Notification
from relay.core.status import DestinationStatus
from relay.store.outbox import Outbox
from relay.store.records import Selection
from tests.component.batch_samples import BATCH_OF_FOUR, MS, ids, refuse_above, sample_notifications
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


async def test_what_is_too_large_is_split_at_once(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """In halves, while time stands still and though ``wait`` is not over; none of it is failed."""
    to, made = BatchDestination(refuse_above(2)), sample_notifications(8)
    one = make_worker(outbox, to, clock, batch={"max": 8, "wait": "5s"}, concurrency=1)
    async with run_workers(one):
        await enqueue(outbox, *made)
        await wait_until_empty(outbox)
        assert one.status == DestinationStatus()
    assert to.sizes == [8, 4, 2, 2, 2, 2]
    assert list(chain(*to.batches[2:])) == ids(made)
    assert one.counters.attempts == Counter({("delivered", Reason.OK): 8})


async def test_a_size_that_was_too_large_is_remembered(
    outbox: Outbox, clock: Clock, hours: VirtualTime
) -> None:
    """For an hour; then twice as much is tried."""
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


async def test_one_that_is_too_large_is_refused(outbox: Outbox, clock: Clock) -> None:
    """A dead letter, as without batches; those that came with it are delivered."""
    made = sample_notifications(8)
    to = BatchDestination(lambda inside: Response(413 if made[5].id in inside else 200))
    await enqueue(outbox, *made)
    async with run_workers(make_worker(outbox, to, clock, batch={"max": 8, "wait": "0s"})):
        await wait_until_empty(outbox)
    (letter,) = await outbox.dead_letters(Selection(), 9)
    assert (letter.notification, letter.attempts, letter.reason) == (made[5], 1, "refused")


async def test_a_stop_while_it_is_split_loses_nothing(outbox: Outbox, clock: Clock) -> None:
    """What was too large stays in the store, due and untried."""
    to, made = BatchDestination(refuse_above(2)), sample_notifications(4)
    to.open.clear()
    await enqueue(outbox, *made)
    async with run_workers(make_worker(outbox, to, clock, batch=BATCH_OF_FOUR)):
        await to.wait_for_count(1)
        asyncio.get_running_loop().call_later(0.01, to.open.set)
    assert to.sizes == [4]
    waiting = await outbox.waiting("hook", 9)
    assert [(it.notification, it.attempts, it.reason) for it in waiting] == [
        (each, 0, None) for each in made
    ]


async def test_a_large_body_is_not_made(outbox: Outbox, clock: Clock) -> None:
    """What would make it larger than a MiB goes in the next one, rendered once."""
    to, made = (
        BatchDestination(),
        [sample_notification(number, f"{number:->200000}") for number in range(4)],
    )
    await enqueue(outbox, *made)
    one = make_worker(outbox, to, clock, batch={"wait": "0s"}, concurrency=1)
    rendered, render = list[str](), one._client.render

    def counting(notification: Notification) -> Any:
        rendered.append(notification.id)
        return render(notification)

    one.set_renderer(counting)
    async with run_workers(one):
        await wait_until_empty(outbox)
    assert to.sizes == [2, 2]
    assert rendered == ids(made)
