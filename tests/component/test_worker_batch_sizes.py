"""Lanes whose requests are too large for a destination, or would be."""

import asyncio
from collections import Counter
from itertools import chain
from typing import Any

from relay.core.exchange import Reason, Response
from relay.core.notification import Notification
from relay.core.status import Condition
from relay.store.outbox import SqliteOutbox
from relay.store.records import Selection
from tests.component.batch_samples import AT_ONCE, MS, ids, refusing, some
from tests.component.delivery_worker import (
    Batches,
    Clock,
    Hours,
    empty,
    lane,
    running,
    take_in,
    told,
)


async def test_what_is_too_large_is_split_at_once(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """In halves, while time stands still and though ``wait`` is not over; none of it is failed."""
    to, made = Batches(refusing(2)), some(8)
    one = lane(outbox, to, clock, batch={"max": 8, "wait": "5s"}, concurrency=1)
    async with running(one):
        await take_in(outbox, *made)
        await empty(outbox)
        assert one.condition == Condition()
    assert to.sizes == [8, 4, 2, 2, 2, 2]
    assert list(chain(*to.taken[2:])) == ids(made)
    assert one.tally.attempts == Counter({("delivered", Reason.OK): 8})


async def test_a_size_that_was_too_large_is_remembered(
    outbox: SqliteOutbox, clock: Clock, hours: Hours
) -> None:
    """For an hour; then twice as much is tried."""
    to = Batches(refusing(2))
    async with running(lane(outbox, to, clock, batch={"max": 4, "wait": "0s"}, concurrency=1)):
        await take_in(outbox, *some(4))
        await empty(outbox)
        await take_in(outbox, *some(4, first=4))
        await empty(outbox)
        assert to.sizes == [4, 2, 2, 2, 2]
        clock.now_ns += 3600 * 1000 * MS
        await take_in(outbox, *some(4, first=8))
        await empty(outbox)
    assert to.sizes[5:] == [4, 2, 2]


async def test_one_that_is_too_large_is_refused(outbox: SqliteOutbox, clock: Clock) -> None:
    """A dead letter, as without batches; those that came with it are delivered."""
    made = some(8)
    to = Batches(lambda inside: Response(413 if made[5].id in inside else 200))
    await take_in(outbox, *made)
    async with running(lane(outbox, to, clock, batch={"max": 8, "wait": "0s"})):
        await empty(outbox)
    (letter,) = await outbox.dead_letters(Selection(), 9)
    assert (letter.notification, letter.attempts, letter.reason) == (made[5], 1, "refused")


async def test_a_stop_while_it_is_split_loses_nothing(outbox: SqliteOutbox, clock: Clock) -> None:
    """What was too large stays in the store, due and untried."""
    to, made = Batches(refusing(2)), some(4)
    to.open.clear()
    await take_in(outbox, *made)
    async with running(lane(outbox, to, clock, batch=AT_ONCE)):
        await to.until(1)
        asyncio.get_running_loop().call_later(0.01, to.open.set)
    assert to.sizes == [4]
    waiting = await outbox.waiting("hook", 9)
    assert [(it.notification, it.attempts, it.reason) for it in waiting] == [
        (each, 0, None) for each in made
    ]


async def test_a_large_body_is_not_made(outbox: SqliteOutbox, clock: Clock) -> None:
    """What would make it larger than a MiB goes in the next one, rendered once."""
    to, made = Batches(), [told(number, f"{number:->200000}") for number in range(4)]
    await take_in(outbox, *made)
    one = lane(outbox, to, clock, batch={"wait": "0s"}, concurrency=1)
    rendered, render = list[str](), one._channel.render

    def counting(notification: Notification) -> Any:
        rendered.append(notification.id)
        return render(notification)

    one.reword(counting)
    async with running(one):
        await empty(outbox)
    assert to.sizes == [2, 2]
    assert rendered == ids(made)
