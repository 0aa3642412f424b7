"""A store that is full: what goes, what stays, and that it grows no further."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from relay.config import WhenFull
from relay.core.checkpoint import Bookmark
from relay.core.container import Container
from relay.core.event import TYPE_RELAY
from relay.core.exchange import Dead, Reason
from relay.core.notification import Included, Notification
from relay.store.outbox import SqliteOutbox, open_outbox
from relay.store.quota import CHUNK, used
from relay.store.records import Enriched, Intake, Outbox, Settled
from tests.unit.store.samples import held, intake, told

MOST = 512 * 1024
MANY = 400
"""More than there is room for."""


def large(number: int, about: str = "web") -> Notification:
    """One of about 2 kB."""
    return msgspec.structs.replace(told(number, about), route="r" * 1500)


def own(number: int) -> Notification:
    """One of relay's own."""
    (event,) = told(number).events
    return msgspec.structs.replace(
        large(number), events=(msgspec.structs.replace(event, type=TYPE_RELAY),)
    )


@asynccontextmanager
async def bounded(
    path: Path | None = None, when_full: WhenFull = "drop-oldest"
) -> AsyncIterator[SqliteOutbox]:
    async with open_outbox(path, max_size=MOST, when_full=when_full) as outbox:
        yield outbox


async def numbers(outbox: Outbox) -> list[int]:
    """Those that are left, where each is about something of its own."""
    due = (await outbox.due("ops", 10, 10_000)).deliveries
    return [delivery.notification.events[0].time_ns for delivery in due]


def letters(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM dead_letters").fetchone()[0])


async def filled(outbox: Outbox) -> int:
    """Fill it with deliveries about one thing each; returns the number of the first shed."""
    for number in range(MANY):
        if (await outbox.take_in(intake(large(number, f"c{number}")), 10)).shed:
            return number
    raise AssertionError("it was never full")


async def test_the_oldest_go_first() -> None:
    """So many that those that follow find room; what is newer stays, in order."""
    async with bounded() as outbox:
        last = await filled(outbox)
        assert await numbers(outbox) == list(range(CHUNK, last + 1))
        assert (await outbox.take_in(intake(large(last + 1, "next")), 10)).shed == 0


async def test_none_goes_while_there_is_room() -> None:
    """A receipt says that nothing was given up, and has the numbers of all that is new."""
    async with bounded() as outbox:
        receipt = await outbox.take_in(intake(large(1), large(2), to=("ops", "audit")), 10)
        assert (receipt.shed, receipt.letters_shed) == (0, 0)
        assert receipt.seqs == [[1, 2], [3, 4]]


async def test_the_successors_of_what_went_become_due() -> None:
    """Nobody waits for one that is there no more."""
    async with bounded() as outbox:
        for number in range(MANY):
            receipt = await outbox.take_in(intake(large(number)), 10)
            if receipt.shed:
                break
        news = outbox.news("ops")
        assert news.is_set()
        (head,) = (await outbox.due("ops", 10, 9)).deliveries
        assert head.notification.events[0].time_ns == receipt.shed


async def test_a_batch_that_is_too_large_loses_its_own_first() -> None:
    """The receipt has no numbers of what was given up at once."""
    async with bounded() as outbox:
        batch = [large(number, f"c{number}") for number in range(MANY)]
        receipt = await outbox.take_in(intake(*batch), 10)
        left = await numbers(outbox)
        assert receipt.shed == MANY - len(left)
        assert left == list(range(receipt.shed, MANY))
        assert [bool(seqs) for seqs in receipt.seqs] == [number in left for number in range(MANY)]


async def test_dead_letters_go_before_deliveries() -> None:
    """They were given up already; the cursor and what is known of containers never go."""
    async with bounded() as outbox:
        mark, container = Bookmark.beginning(1), Container("c1")
        dead = [(large(number, f"dead{number}"), ["ops"]) for number in range(2 * CHUNK)]
        await outbox.take_in(Intake("here", mark, dead, [container]), 10)
        for head in (await outbox.due("ops", 10, 2 * CHUNK)).deliveries:
            await outbox.settle([Settled(head, Dead(Reason.EXPIRED))], 10)
        while not (receipt := await outbox.take_in(intake(large(1)), 10)).letters_shed:
            assert receipt.shed == 0
        assert (receipt.shed, receipt.letters_shed) == (0, CHUNK)
        assert await outbox._committer.run(letters) == CHUNK
        await filled(outbox)
        assert await outbox._committer.run(letters) == 0
        assert await outbox.bookmark("here") == mark
        assert await outbox.containers("here") == [container]


async def test_new_ones_are_dropped_if_that_is_wanted() -> None:
    """The old ones stay, and the cursor moves all the same."""
    async with bounded(when_full="drop-new") as outbox:
        first = await filled(outbox)
        before = await numbers(outbox)
        assert before == list(range(first))
        mark = Bookmark.beginning(99)
        receipt = await outbox.take_in(intake(large(MANY), to=("ops", "audit"), bookmark=mark), 10)
        assert (receipt.shed, receipt.seqs) == (2, [[]])
        assert await numbers(outbox) == before
        assert await outbox.bookmark("here") == mark


async def test_relays_own_are_never_the_new_that_are_dropped() -> None:
    """They are few, and say that others are missing."""
    async with bounded(when_full="drop-new") as outbox:
        await filled(outbox)
        receipt = await outbox.take_in(intake(own(MANY)), 10)
        assert receipt.shed == 0
        assert len(receipt.seqs[0]) == 1
        assert MANY in await numbers(outbox)


async def test_old_dead_letters_make_room_for_new_deliveries() -> None:
    """Also where new ones are dropped: else a store full of them would never take one again."""
    async with bounded(when_full="drop-new") as outbox:
        first = await filled(outbox)
        for delivery in (await outbox.due("ops", 10, first)).deliveries:
            await outbox.settle([Settled(delivery, Dead(Reason.EXPIRED))], 10)
        receipts = [await outbox.take_in(intake(large(n, f"d{n}")), 10) for n in range(first)]
        assert sum(receipt.shed for receipt in receipts) == 0
        assert sum(receipt.letters_shed for receipt in receipts) > 0


@pytest.mark.parametrize("when_full", ["drop-oldest", "drop-new"])
async def test_the_file_stays_within_its_bound(tmp_path: Path, when_full: WhenFull) -> None:
    """But for what one notification takes; what was given up makes room for what comes."""
    file = tmp_path / "relay.db"
    async with bounded(file, when_full) as outbox:
        for start in range(0, 3 * MANY, 50):
            batch = [large(number, f"c{number}") for number in range(start, start + 50)]
            await outbox.take_in(intake(*batch), 10)
    assert MOST // 2 < file.stat().st_size < MOST + 8 * 4096


WHOLE = Included(logs=("z" * 4000,), health="y" * 4000)


async def test_what_is_included_stays_within_the_bound(tmp_path: Path) -> None:
    """A notification goes without it, and says so, once there is no room."""
    file = tmp_path / "relay.db"
    async with bounded(file) as outbox:
        batch = [held(told(number, f"c{number}")) for number in range(200)]
        receipt = await outbox.take_in(intake(*batch), 10)
        enriched = [
            await outbox.enrich(seqs, msgspec.structs.replace(notification, included=WHOLE), 10)
            for notification, seqs in zip(batch, receipt.seqs, strict=True)
        ]
        included = [
            delivery.notification.included
            for delivery in (await outbox.due("ops", 10, 1000)).deliveries
        ]
    bare = sum(each.bare for each in enriched)
    assert 100 < bare < 200
    assert included.count(WHOLE) == 200 - bare
    assert included.count(Included(missing="the store is full")) == bare
    assert file.stat().st_size < MOST + 8 * 4096


async def test_dead_letters_make_room_for_what_is_included() -> None:
    """They are counted; no delivery goes for it."""
    async with bounded() as outbox:
        dead = [large(number, f"dead{number}") for number in range(200)]
        assert (await outbox.take_in(intake(*dead), 10)).shed == 0
        for head in (await outbox.due("ops", 10, 200)).deliveries:
            await outbox.settle([Settled(head, Dead(Reason.EXPIRED))], 10)
        batch = [held(told(number, f"c{number}")) for number in range(30)]
        receipt = await outbox.take_in(intake(*batch, to=["audit"]), 10)
        enriched = [
            await outbox.enrich(seqs, msgspec.structs.replace(notification, included=WHOLE), 10)
            for notification, seqs in zip(batch, receipt.seqs, strict=True)
        ]
        assert sum(each.bare for each in enriched) == 0
        assert sum(each.letters_shed for each in enriched) > 0
        gone = receipt.letters_shed + sum(each.letters_shed for each in enriched)
        assert await outbox._committer.run(letters) == 200 - gone


async def test_what_takes_no_room_is_included_in_a_full_store() -> None:
    """That the container is gone is told, not that the store is full."""
    async with bounded(when_full="drop-new") as outbox:
        (seqs,) = (await outbox.take_in(intake(held(told(1, "a"))), 10)).seqs
        await filled(outbox)
        await outbox.take_in(intake(*(own(number) for number in range(9))), 10)
        assert await outbox._committer.run(used) > MOST
        gone = msgspec.structs.replace(told(1, "a"), included=Included(missing="gone"))
        assert await outbox.enrich(seqs, gone, 10) == Enriched()
