"""A full store: what is evicted, what stays, and that the file does not grow further."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from relay.config import WhenFull
from relay.core.checkpoint import Checkpoint
from relay.core.container import Container
from relay.core.event import TYPE_RELAY
from relay.core.exchange import Dead, Reason
from relay.core.include import Included
from relay.core.notification import Notification
from relay.store.outbox import Outbox, open_outbox
from relay.store.quota import EVICT_BATCH, bytes_used
from relay.store.records import Ack, EnrichResult, IngestCommit
from tests.support.recording_receiver import RecordingReceiver
from tests.unit.store.samples import due_numbers, make_commit, make_notification, with_include

MAX_BYTES = 512 * 1024
MANY = 400
"""More than fits into the quota."""


def large_notification(number: int, about: str = "web") -> Notification:
    """A notification of about 2 kB."""
    return msgspec.structs.replace(make_notification(number, about), route="r" * 1480)


def self_notification(number: int) -> Notification:
    """A notification of one of relay's own events."""
    (event,) = make_notification(number).events
    return msgspec.structs.replace(
        large_notification(number), events=(msgspec.structs.replace(event, type=TYPE_RELAY),)
    )


@asynccontextmanager
async def open_small(
    path: Path | None = None, when_full: WhenFull = "drop-oldest"
) -> AsyncIterator[Outbox]:
    async with open_outbox(path, max_size=MAX_BYTES, when_full=when_full) as outbox:
        yield outbox


def count_dead_letters(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM dead_letters").fetchone()[0])


async def fill_until_evicting(outbox: Outbox) -> int:
    """Commit deliveries about one subject each until it evicts; return that delivery's number."""
    for number in range(MANY):
        if (await outbox.commit(make_commit(large_notification(number, f"c{number}")), 10)).evicted:
            return number
    raise AssertionError("the store was never full")


async def test_the_oldest_are_evicted_first() -> None:
    """Several are evicted at once, to have space for the next ones; newer ones stay in order."""
    async with open_small() as outbox:
        last = await fill_until_evicting(outbox)
        assert await due_numbers(outbox, 10) == list(range(EVICT_BATCH, last + 1))
        assert (
            await outbox.commit(make_commit(large_notification(last + 1, "next")), 10)
        ).evicted == 0


async def test_nothing_is_evicted_within_the_quota() -> None:
    """Within the quota the result lists the numbers of all new deliveries."""
    async with open_small() as outbox:
        result = await outbox.commit(
            make_commit(large_notification(1), large_notification(2), to=("ops", "audit")), 10
        )
        assert (result.evicted, result.dead_letters_evicted) == (0, 0)
        assert result.seqs == [[1, 2], [3, 4]]


async def test_the_successors_of_evicted_deliveries_become_due() -> None:
    """No delivery waits for one that no longer exists."""
    async with open_small() as outbox:
        worker = RecordingReceiver(outbox, "ops")
        for number in range(MANY):
            result = await outbox.commit(make_commit(large_notification(number)), 10)
            if result.evicted:
                break
        assert worker.fetch_requests
        (head,) = (await outbox.fetch_due("ops", 10, 9)).deliveries
        assert head.notification.events[0].time_ns == result.evicted


async def test_a_batch_that_is_too_large_evicts_its_own_first_deliveries() -> None:
    """The result does not list the numbers of those that were evicted at once."""
    async with open_small() as outbox:
        batch = [large_notification(number, f"c{number}") for number in range(MANY)]
        result = await outbox.commit(make_commit(*batch), 10)
        left = await due_numbers(outbox, 10)
        assert result.evicted == MANY - len(left)
        assert left == list(range(result.evicted, MANY))
        assert [bool(seqs) for seqs in result.seqs] == [number in left for number in range(MANY)]


async def test_dead_letters_are_evicted_before_deliveries() -> None:
    """The cursor and the containers' states are never evicted."""
    async with open_small() as outbox:
        checkpoint, container = Checkpoint.starting_at(1), Container("c1")
        dead = [
            (large_notification(number, f"dead{number}"), ["ops"])
            for number in range(2 * EVICT_BATCH)
        ]
        await outbox.commit(IngestCommit("here", checkpoint, dead, [container]), 10)
        for head in (await outbox.fetch_due("ops", 10, 2 * EVICT_BATCH)).deliveries:
            await outbox.ack([Ack(head, Dead(Reason.EXPIRED))], 10, flush=True)
        while not (
            result := await outbox.commit(make_commit(large_notification(1)), 10)
        ).dead_letters_evicted:
            assert result.evicted == 0
        assert (result.evicted, result.dead_letters_evicted) == (0, EVICT_BATCH)
        assert await outbox._writer.run(count_dead_letters) == EVICT_BATCH
        await fill_until_evicting(outbox)
        assert await outbox._writer.run(count_dead_letters) == 0
        assert await outbox.checkpoint("here") == checkpoint
        assert await outbox.containers("here", list) == [container]


async def test_drop_new_evicts_the_batch_itself() -> None:
    """Older deliveries stay, and the cursor moves in any case."""
    async with open_small(when_full="drop-new") as outbox:
        first = await fill_until_evicting(outbox)
        before = await due_numbers(outbox, 10)
        assert before == list(range(first))
        checkpoint = Checkpoint.starting_at(99)
        result = await outbox.commit(
            make_commit(large_notification(MANY), to=("ops", "audit"), checkpoint=checkpoint), 10
        )
        assert (result.evicted, result.seqs) == (2, [[]])
        assert await due_numbers(outbox, 10) == before
        assert await outbox.checkpoint("here") == checkpoint


async def test_drop_new_never_evicts_relays_own_events() -> None:
    """relay's own events are not evicted: they are few, and report that others are missing."""
    async with open_small(when_full="drop-new") as outbox:
        await fill_until_evicting(outbox)
        result = await outbox.commit(make_commit(self_notification(MANY)), 10)
        assert result.evicted == 0
        assert len(result.seqs[0]) == 1
        assert MANY in await due_numbers(outbox, 10)


async def test_drop_new_evicts_dead_letters_first() -> None:
    """Dead letters are evicted first: otherwise they could fill the store for ever."""
    async with open_small(when_full="drop-new") as outbox:
        first = await fill_until_evicting(outbox)
        for delivery in (await outbox.fetch_due("ops", 10, first)).deliveries:
            await outbox.ack([Ack(delivery, Dead(Reason.EXPIRED))], 10, flush=True)
        results = [
            await outbox.commit(make_commit(large_notification(n, f"d{n}")), 10)
            for n in range(first - EVICT_BATCH)  # pages that are half empty take a little space
        ]
        assert sum(result.evicted for result in results) == 0
        assert sum(result.dead_letters_evicted for result in results) > 0


@pytest.mark.parametrize("when_full", ["drop-oldest", "drop-new"])
async def test_the_file_stays_within_the_quota(tmp_path: Path, when_full: WhenFull) -> None:
    """It exceeds the quota by one notification at most; the space of evicted rows is used again."""
    file = tmp_path / "relay.db"
    async with open_small(file, when_full) as outbox:
        for start in range(0, 3 * MANY, 50):
            batch = [
                large_notification(number, f"c{number}") for number in range(start, start + 50)
            ]
            await outbox.commit(make_commit(*batch), 10)
    assert MAX_BYTES // 2 < file.stat().st_size < MAX_BYTES + 8 * 4096


LARGE_INCLUDED = Included(logs=("z" * 4000,), health="y" * 4000)


async def test_included_content_stays_within_the_quota(tmp_path: Path) -> None:
    """In a full store the notification is sent without its content, and says so."""
    file = tmp_path / "relay.db"
    async with open_small(file) as outbox:
        batch = [with_include(make_notification(number, f"c{number}")) for number in range(200)]
        result = await outbox.commit(make_commit(*batch), 10)
        enriched = [
            await outbox.enrich(
                seqs, msgspec.structs.replace(notification, included=LARGE_INCLUDED), 10
            )
            for notification, seqs in zip(batch, result.seqs, strict=True)
        ]
        included = [
            delivery.notification.included
            for delivery in (await outbox.fetch_due("ops", 10, 1000)).deliveries
        ]
    bare = sum(each.stripped for each in enriched)
    assert 100 < bare < 200
    assert included.count(LARGE_INCLUDED) == 200 - bare
    assert included.count(Included(missing="the store is full")) == bare
    # Each that says so is a little longer than before.
    assert file.stat().st_size < MAX_BYTES + 10 * 4096


async def test_dead_letters_are_evicted_for_included_content() -> None:
    """Evicted dead letters are counted; no delivery is evicted for included content."""
    async with open_small() as outbox:
        dead = [large_notification(number, f"dead{number}") for number in range(200)]
        assert (await outbox.commit(make_commit(*dead), 10)).evicted == 0
        for head in (await outbox.fetch_due("ops", 10, 200)).deliveries:
            await outbox.ack([Ack(head, Dead(Reason.EXPIRED))], 10, flush=True)
        batch = [with_include(make_notification(number, f"c{number}")) for number in range(30)]
        result = await outbox.commit(make_commit(*batch, to=["audit"]), 10)
        enriched = [
            await outbox.enrich(
                seqs, msgspec.structs.replace(notification, included=LARGE_INCLUDED), 10
            )
            for notification, seqs in zip(batch, result.seqs, strict=True)
        ]
        assert sum(each.stripped for each in enriched) == 0
        assert sum(each.dead_letters_evicted for each in enriched) > 0
        gone = result.dead_letters_evicted + sum(each.dead_letters_evicted for each in enriched)
        assert await outbox._writer.run(count_dead_letters) == 200 - gone


async def test_a_full_store_accepts_included_content_that_takes_no_space() -> None:
    """The notification says that the container is gone, not that the store is full."""
    async with open_small(when_full="drop-new") as outbox:
        (seqs,) = (
            await outbox.commit(make_commit(with_include(make_notification(1, "a"))), 10)
        ).seqs
        await fill_until_evicting(outbox)
        await outbox.commit(make_commit(*(self_notification(number) for number in range(9))), 10)
        assert await outbox._writer.run(bytes_used) > MAX_BYTES
        gone = msgspec.structs.replace(make_notification(1, "a"), included=Included(missing="gone"))
        assert await outbox.enrich(seqs, gone, 10) == EnrichResult()
