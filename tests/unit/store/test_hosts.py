"""What is stored of other hosts: their events, their heartbeats, and what is no event."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.exchange import Answer, Reason
from relay.store.dead_letters import MAX_UNREADABLE
from relay.store.faults import Corrupt, StoreLoss
from relay.store.hosts import decode_keys
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import HostRow, IngestCommit, SeenChunk, Selection
from relay.store.schema import NEWEST_VERSION, SQL, migrate
from tests.unit.store.samples import due_numbers, make_commit, make_notification, read_rows
from tests.unit.store.test_recovery import overwrite, root_offset

A, B, C = (letter * 8 for letter in (b"a", b"b", b"c"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store may be created."""
    return tmp_path / "relay.db"


def seen_commit(*chunks: SeenChunk, oldest: int = 0, engine: str = "fleet") -> IngestCommit:
    """A batch with events of other hosts."""
    return IngestCommit(engine, None, [], seen=chunks, oldest_seen=oldest)


async def test_seen_events_are_stored_with_their_deliveries(file: Path) -> None:
    """Each engine has its own; those that are too old are deleted with the next."""
    chunks = [SeenChunk(number, 10 * number, key) for number, key in enumerate((A, B + C, A))]
    async with open_outbox(file) as outbox:
        for chunk in chunks:
            commit = seen_commit(chunk, oldest=1)
            await outbox.commit(commit, 10)
            await outbox.commit(commit, 10)  # as if the disk had failed after the commit
        await outbox.commit(seen_commit(SeenChunk(0, 5, C), engine="other"), 10)
    async with open_outbox(file) as outbox:
        assert await outbox.seen("fleet") == chunks[1:]
        assert await outbox.seen("other") == [SeenChunk(0, 5, C)]
        assert await outbox.seen("here") == []


async def test_hosts_are_stored_by_engine(file: Path) -> None:
    """A row replaces the one before; a host that is forgotten has none."""
    async with open_outbox(file) as outbox:
        for hosts in ([HostRow("a", 1), HostRow("b\0ü", 2)], [HostRow("a", 3, 9)]):
            await outbox.commit(IngestCommit("fleet", None, [], hosts=hosts), 10)
        await outbox.commit(IngestCommit("other", None, [], hosts=[HostRow("a", 4)]), 10)
        assert await outbox.hosts("fleet") == [HostRow("a", 3, 9), HostRow("b\0ü", 2)]
        await outbox.commit(IngestCommit("fleet", None, [], forgotten_hosts=["a", "c"]), 10)
    async with open_outbox(file) as outbox:
        assert await outbox.hosts("fleet") == [HostRow("b\0ü", 2)]
        assert await outbox.hosts("other") == [HostRow("a", 4)]


@pytest.mark.parametrize("keys", [A[:-1], A + B[:1], "aaaaaaaa", None])
def test_keys_that_are_cut_off_are_corrupt(keys: object) -> None:
    """Half a key would stand for an event that never came."""
    assert decode_keys(A + B) == A + B
    with pytest.raises(Corrupt):
        decode_keys(keys)


async def test_a_corrupt_row_of_seen_events_costs_only_itself(file: Path) -> None:
    """The store is rebuilt with the others, and with the hosts."""
    rows = [HostRow("web-1", 1), HostRow("web-2", 2, 5)]
    async with open_outbox(file) as outbox:
        for number, key in enumerate((A, B, C)):
            await outbox.commit(seen_commit(SeenChunk(number, 10, key)), 10)
        await outbox.commit(IngestCommit("fleet", None, [], hosts=rows), 10)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE seen SET keys = x'ff' WHERE number = 1")
        connection.commit()
    losses: list[StoreLoss] = []
    async with open_outbox(file, on_loss=losses.append) as outbox:
        assert await outbox.seen("fleet") == [SeenChunk(0, 10, A), SeenChunk(2, 10, C)]
        assert await outbox.hosts("fleet") == rows
        assert len(losses) == 1


@pytest.mark.parametrize("table", ["seen", "hosts"])
async def test_a_table_that_cannot_be_read(file: Path, table: str) -> None:
    """Without it the store goes on."""
    async with open_outbox(file) as outbox:
        await outbox.commit(make_commit(make_notification(1)), 10)
        await outbox.commit(seen_commit(SeenChunk(0, 10, A)), 10)
        await outbox.commit(IngestCommit("fleet", None, [], hosts=[HostRow("web-1", 1)]), 10)
    overwrite(file, root_offset(file, table))
    async with open_outbox(file) as outbox:
        seen, hosts = await outbox.seen("fleet"), await outbox.hosts("fleet")
        assert (seen == [], hosts == []) == (table == "seen", table == "hosts")
        assert await due_numbers(outbox, 10) == [1]


async def test_a_store_of_version_6_is_migrated(file: Path) -> None:
    """No host and no event is known there."""
    with closing(sqlite3.connect(file)) as connection:
        migrate(connection, 0, to=6)
    async with open_outbox(file) as outbox:
        assert (await outbox.seen("fleet"), await outbox.hosts("fleet")) == ([], [])
    assert read_rows(file, "PRAGMA user_version") == [(NEWEST_VERSION,)]


def unreadable_commit(*numbers: int, size: int = 0) -> IngestCommit:
    """A batch whose messages are no events."""
    notifications = [make_notification(number, "x" * size or "web") for number in numbers]
    return IngestCommit("fleet", None, [], unreadable=[(each, "no JSON") for each in notifications])


@pytest.mark.parametrize("size", [0, 100_000])
async def test_unreadable_messages_are_dead_letters(file: Path, size: int) -> None:
    """They are found under the engine's name, and never among the deliveries."""
    async with open_outbox(file) as outbox:
        commit = unreadable_commit(1, 2, size=size)
        await outbox.commit(commit, 10)
    async with open_outbox(file) as outbox:
        newest, oldest = await outbox.dead_letters(Selection(destination="fleet"), 9)
        assert [newest.notification, oldest.notification] == [
            notification for notification, _ in reversed(commit.unreadable)
        ]
        assert (newest.created_ns, newest.died_ns, newest.attempts) == (10, 10, 0)
        assert (newest.reason, newest.answer) == (Reason.UNREADABLE, Answer(None, error="no JSON"))
        assert await outbox.pending() == {}
        assert await outbox.drop_dead_letters(Selection()) == 2
    assert read_rows(file, "SELECT count(*) FROM long_notifications") == [(0,)]


async def test_an_unreadable_message_is_never_replayed() -> None:
    """Not even to a destination that has the name of its engine."""
    async with open_outbox(None) as outbox:
        await outbox.commit(make_commit(make_notification(0), to=["fleet"]), 10)
        assert (await outbox.drop_destination("fleet", 10)).count == 1
        await outbox.commit(unreadable_commit(1, 2), 10)
        assert await outbox.replay_dead_letters(Selection(), lambda: ["fleet"], 20) == 1
        assert await due_numbers(outbox, 20, "fleet") == [0]
        assert await count_unreadable(outbox) == 2


async def test_the_newest_unreadable_messages_are_kept() -> None:
    """However many come, other dead letters stay."""
    async with open_outbox(None) as outbox:
        await outbox.commit(make_commit(make_notification(0), to=["gone"]), 10)
        assert (await outbox.drop_destination("gone", 10)).count == 1
        for begin in range(0, MAX_UNREADABLE + 200, 300):
            await outbox.commit(unreadable_commit(*range(begin, begin + 300)), 10)
        assert await outbox.count_dead_letters(Selection()) == {"gone": 1, "fleet": MAX_UNREADABLE}
        (newest,) = await outbox.dead_letters(Selection(destination="fleet"), 1)
        assert newest.notification.events[0].time_ns == MAX_UNREADABLE + 199


async def test_pruning_unreadable_messages_reads_no_other_dead_letter(file: Path) -> None:
    """With 10,000 of these each commit would take 50 ms."""
    async with open_outbox(file):
        statement = SQL["prune_unreadable"].replace(":max_count", "1000")
        plan = [row[-1] for row in read_rows(file, f"EXPLAIN QUERY PLAN {statement}")]
    reads = [line for line in plan if "dead_letters" in line]
    assert reads
    assert all("dead_letters_unreadable" in line for line in reads)


async def test_unreadable_messages_stay_within_the_quota() -> None:
    """A full store gives up the oldest dead letters for them, and no delivery."""
    async with open_outbox(None, max_size=2**20) as outbox:
        await outbox.commit(make_commit(make_notification(0)), 10)
        for number in range(40):
            result = await outbox.commit(unreadable_commit(number, size=50_000), 10)
            assert result.evicted == 0
        assert 1 < await count_unreadable(outbox) < 20
        assert await due_numbers(outbox, 10) == [0]


async def count_unreadable(outbox: Outbox) -> int:
    """How many messages that are no events the store has kept."""
    return sum((await outbox.count_dead_letters(Selection())).values())
