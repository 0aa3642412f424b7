"""Batches of notifications are limited in bytes too, but always hold at least one."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from relay.core.exchange import Dead, Reason
from relay.core.notification import Notification
from relay.store import dead_letters, deliveries
from relay.store.faults import StoreLoss
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import Ack, GiveUpResult, Selection
from tests.unit.store.samples import fetch_due, make_commit, make_notification

ALL = Selection()
LONG = 10_000


@pytest_asyncio.fixture
async def outbox() -> AsyncIterator[Outbox]:
    """An empty outbox."""
    async with open_outbox(None) as made:
        yield made


@pytest.fixture(autouse=True)
def room_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bound has room for two long notifications: it is reached with the second."""
    monkeypatch.setattr(deliveries, "GIVE_UP_BYTES", LONG + 1_000)
    monkeypatch.setattr(deliveries, "PAGE_BYTES", LONG + 1_000)
    monkeypatch.setattr(dead_letters, "PAGE_BYTES", LONG + 1_000)
    monkeypatch.setattr(dead_letters, "DROP_BYTES", LONG + 1_000)


def make_long(number: int, length: int = LONG) -> Notification:
    """The notification of an event with a long label."""
    made = make_notification(number, f"c{number}")
    (event,) = made.events
    actor = msgspec.structs.replace(event.actor, attributes={"label": "x" * length})
    return msgspec.structs.replace(made, events=(msgspec.structs.replace(event, actor=actor),))


async def commit_long(outbox: Outbox, count: int, length: int = LONG) -> None:
    await outbox.commit(make_commit(*(make_long(n, length) for n in range(1, count + 1))), 10)


async def make_dead(outbox: Outbox, count: int, length: int = LONG) -> None:
    """Make dead letters with the numbers from 1."""
    await commit_long(outbox, count, length)
    for delivery in await fetch_due(outbox, 10):
        await outbox.ack([Ack(delivery, Dead(Reason.REFUSED))], 10)


@pytest.mark.parametrize("length", [LONG, 100 * LONG])
async def test_giving_up_long_deliveries(outbox: Outbox, length: int) -> None:
    """The oldest first, as many at once as fit, at least one; in the end all of them."""
    await commit_long(outbox, 5, length)
    counts = [(await outbox.expire("ops", 10, 20)).count for _ in range(6)]
    assert counts == ([2, 2, 1, 0, 0, 0] if length == LONG else [1, 1, 1, 1, 1, 0])
    await commit_long(outbox, 3, length)
    counts = [(await outbox.drop_destination("ops", 20)).count for _ in range(4)]
    assert counts == ([2, 1, 0, 0] if length == LONG else [1, 1, 1, 0])


async def test_deliveries_under_way_do_not_use_up_the_bound(outbox: Outbox) -> None:
    """The deliveries behind them are given up all the same."""
    await commit_long(outbox, 4)
    under_way = [delivery.seq for delivery in (await fetch_due(outbox, 10))[:3]]
    assert await outbox.expire("ops", 10, 20, under_way) == GiveUpResult(1)
    assert await outbox.expire("ops", 10, 20, under_way) == GiveUpResult()


async def test_a_dead_letter_that_was_given_up_is_whole(outbox: Outbox) -> None:
    """The notification is not read, but moved."""
    await commit_long(outbox, 1)
    await outbox.expire("ops", 10, 20)
    (dead_letter,) = await outbox.dead_letters(ALL, 9)
    assert dead_letter.notification == make_long(1)
    assert await outbox.dead_letters(Selection(ids=(make_long(1).id,), route="crashed"), 9)


@pytest.mark.parametrize("length", [LONG, 100 * LONG])
async def test_a_page_of_waiting_deliveries(outbox: Outbox, length: int) -> None:
    """It holds as many as fit, and at least one."""
    await commit_long(outbox, 5, length)
    page = await outbox.waiting("ops", 9)
    assert [one.notification for one in page] == [
        make_long(n, length) for n in ((1, 2) if length == LONG else (1,))
    ]
    assert len(await outbox.waiting(None, 1)) == 1


@pytest.mark.parametrize("length", [LONG, 100 * LONG])
async def test_pages_of_dead_letters(outbox: Outbox, length: int) -> None:
    """Each holds as many as fit, at least one; together they hold all, the newest first."""
    await make_dead(outbox, 5, length)
    pages, below = [], None
    while page := await outbox.dead_letters(ALL, 9, below):
        pages.append([one.number for one in page])
        below = page[-1].number
    assert pages == ([[5, 4], [3, 2], [1]] if length == LONG else [[5], [4], [3], [2], [1]])


async def test_counting_dead_letters_reads_none(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does dropping or pruning them."""

    def refuse(*_: Any) -> None:
        raise AssertionError

    await make_dead(outbox, 5)
    monkeypatch.setattr(dead_letters, "decode_notification", refuse)
    assert await outbox.count_dead_letters(ALL) == {"ops": 5}
    assert await outbox.count_dead_letters(Selection(ids=(1, make_long(2).id))) == {"ops": 2}
    assert await outbox.count_dead_letters(Selection(destination="audit")) == {}
    assert await outbox.drop_dead_letters(Selection(ids=(1, 2, 3))) == 3
    assert await outbox.prune_dead_letters(0, 1) == 1


async def test_replaying_long_dead_letters(outbox: Outbox) -> None:
    """All of them, although each transaction takes only a few."""
    await make_dead(outbox, 5)
    assert await outbox.replay_dead_letters(ALL, lambda: ["ops"], 20) == 5
    assert [one.notification for one in await fetch_due(outbox, 20)] == [
        make_long(n) for n in range(1, 6)
    ]


async def test_pruning_goes_on_until_it_is_done(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few at a time, so that others do not wait for long."""
    monkeypatch.setattr(dead_letters, "PRUNE_SIZE", 2)
    await make_dead(outbox, 9)
    assert await outbox.prune_dead_letters(10, 4) == 5
    assert [one.number for one in await outbox.dead_letters(ALL, 1)] == [9]
    assert await outbox.prune_dead_letters(11, 4) == 4


async def test_a_full_store_evicts_no_more_long_deliveries_than_it_has_to() -> None:
    """A long delivery displaces one or two others of its length, not as many as short ones."""
    length = 2**20
    async with open_outbox(None, max_size=16 * length) as outbox:
        await commit_long(outbox, 14, length)
        result = await outbox.commit(
            make_commit(make_long(20, length), make_long(21, length), make_long(22, length)), 10
        )
        assert 1 <= result.evicted <= 4


async def test_long_and_short_deliveries_of_one_batch() -> None:
    """They are numbered in the order of the batch, and each has its own notification."""
    batch = [make_long(number, length) for number, length in enumerate([5, 10**6, 5, 6, 10**6], 1)]
    async with open_outbox(None) as outbox:
        result = await outbox.commit(make_commit(*batch, to=("ops", "audit")), 10)
        assert result.seqs == [[2 * at + 1, 2 * at + 2] for at in range(5)]
        assert len(result.due) == 10
        for to in ("ops", "audit"):
            due = await fetch_due(outbox, 10, to)
            assert [one.notification for one in due] == batch


async def test_a_corrupt_long_notification_is_skipped(tmp_path: Path) -> None:
    """It is found when it is fetched, and then the store is rebuilt without it."""
    file, losses = tmp_path / "relay.db", list[StoreLoss]()
    async with open_outbox(file) as outbox:
        await commit_long(outbox, 3, 100 * LONG)
    content = file.read_bytes()
    file.write_bytes(content.replace(b'"ntf_', b"\xff\xffntf", 1))
    async with open_outbox(file, on_loss=losses.append) as outbox:
        due = await fetch_due(outbox, 10)
        assert [len(one.notification.events[0].actor.attributes["label"]) for one in due] == [
            100 * LONG
        ] * 2
        assert len(losses) == 1
