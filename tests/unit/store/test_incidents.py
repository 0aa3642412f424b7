"""Rows of incidents, and what became of the messages that report them."""

import asyncio
import signal
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import WhenFull
from relay.core.checkpoint import Checkpoint
from relay.core.exchange import Dead, Reason
from relay.core.notification import Notification
from relay.store import incidents
from relay.store.outbox import open_outbox
from relay.store.quota import MAX_CHANGE_BYTES, UsedSpace, bytes_used, save_incident_rows
from relay.store.records import (
    LONG_BYTES,
    Ack,
    IngestCommit,
    RowChanges,
    StoredRow,
)
from relay.store.schema import MAX_ROWS, migrate
from tests.crash.points import Moment
from tests.unit.store.samples import (
    due_numbers,
    fetch_due,
    make_commit,
    make_large_update,
    make_notification,
    make_update,
)

ROWS = (
    ("incident", '["ops","here/container/web"]', b'{"id":"inc_1"}'),
    ("group", '["ops","here/shop"]', b"{}"),
    ("incident", "nul\0\u00fc'\"", b'{"id":"inc_2"}'),
)
MAX_BYTES = 512 * 1024


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store may be created."""
    return tmp_path / "relay.db"


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """An empty store in memory."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, 0)
        yield connection


def commit_rows(rows: RowChanges, *notifications: Notification) -> IngestCommit:
    """A batch with rows of incidents."""
    return msgspec.structs.replace(make_commit(*notifications), incident_rows=rows)


def changes(upserts: Iterable[StoredRow], deletions: Iterable[tuple[str, str]] = ()) -> RowChanges:
    """The changes that write and delete these rows."""
    written = {(kind, key): content for kind, key, content in upserts}
    return {**written, **dict.fromkeys(deletions)}


def large_row(number: int, size: int = 2000) -> StoredRow:
    """A row of about this many bytes."""
    return ("incident", f"web-{number}", msgspec.json.encode("x" * size))


async def test_rows_are_committed_with_the_cursor_and_the_notifications(file: Path) -> None:
    """All is stored, or nothing; after a restart all is there, in the order of the first store."""
    async with open_outbox(file) as outbox:
        assert await outbox.incident_rows() == []
        await outbox.commit(commit_rows(changes(ROWS), make_update(1)), 10)
        odd = msgspec.structs.replace(make_notification(2), route=object())
        lost = changes([("group", "lost", b"{}")], [ROWS[0][:2]])
        failing = msgspec.structs.replace(
            commit_rows(lost, odd), checkpoint=Checkpoint.starting_at(9)
        )
        with pytest.raises(TypeError):
            await outbox.commit(failing, 10)
        assert await outbox.checkpoint("here") is None
        assert await outbox.incident_rows() == list(ROWS)
    async with open_outbox(file) as outbox:
        assert await outbox.incident_rows() == list(ROWS)
        assert len(await fetch_due(outbox, 10)) == 1


@pytest.mark.parametrize("path", [None, "relay.db"])
async def test_rows_are_changed_and_deleted(tmp_path: Path, path: str | None) -> None:
    """By kind and key, whatever the key is; what does not exist is not deleted."""
    async with open_outbox(None if path is None else tmp_path / path) as outbox:
        await outbox.commit(commit_rows(changes(ROWS)), 10)
        changed = ("incident", ROWS[0][1], b'{"id":"inc_1","total":2}')
        gone = [ROWS[2][:2], ("incident", "none"), ("incident", ROWS[1][1])]
        await outbox.save_incident_rows(changes([changed], gone))
        assert await outbox.incident_rows() == [changed, ROWS[1]]
        await outbox.save_incident_rows(changes([], [changed[:2], ROWS[1][:2]]))
        assert await outbox.incident_rows() == []


async def test_no_rows_need_no_transaction() -> None:
    """The future is done at once, and nothing waits for the disk."""
    async with open_outbox(None) as outbox:
        assert outbox.save_incident_rows({}).done()
        assert outbox.oldest_wait_s == 0.0


async def test_rows_are_stored_in_the_order_in_which_they_were_submitted() -> None:
    """Whether with a batch or by themselves, and although nobody waits in between."""
    async with open_outbox(None) as outbox:
        calls: list[asyncio.Future[Any]] = []
        for number in range(9):
            web = ("incident", "web", b"%d" % number)
            rows = changes([web], [("incident", str(number))])
            more = changes([web, ("incident", str(number + 1), b"0")])
            calls.append(asyncio.ensure_future(outbox.commit(commit_rows(more), 10)))
            await asyncio.sleep(0)  # the commit is submitted
            calls.append(outbox.save_incident_rows(rows))
        await asyncio.gather(*calls)
        assert await outbox.incident_rows() == [("incident", "web", b"8"), ("incident", "9", b"0")]


_keys = st.tuples(st.sampled_from(["incident", "group", ""]), st.text(max_size=3))
_contents = st.sampled_from([None, b"0", b"[]", b'"%s"' % (b"x" * LONG_BYTES)])


@given(st.lists(st.dictionaries(_keys, _contents), max_size=8))
def test_rows_behave_like_a_dictionary(steps: list[dict[tuple[str, str], bytes | None]]) -> None:
    """Whatever is changed and deleted together, the store has what a dictionary would have."""
    model: dict[tuple[str, str], bytes | None] = {}
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as store:
        migrate(store, 0)
        for step in steps:
            model = {key: content for key, content in (model | step).items() if content is not None}
            incidents.save_rows(step, store)
            loaded = incidents.load_rows(store)
            assert {(kind, key): content for kind, key, content in loaded} == model


def test_few_statements_store_many_rows(connection: sqlite3.Connection) -> None:
    """One for as many rows as a statement can have, and no statement for none."""
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    rows = [large_row(number, 10) for number in range(2 * MAX_ROWS)]
    incidents.save_rows(changes(rows, [("incident", "a"), ("incident", "b")]), connection)
    assert len(seen) == 3
    incidents.save_rows({}, connection)
    assert len(seen) == 3
    connection.set_trace_callback(None)
    assert len(incidents.load_rows(connection)) == 2 * MAX_ROWS


@pytest.mark.parametrize(
    "row", [("incident", "a", b"{"), ("incident", "a", "{}"), ("incident", b"a", b"{}")]
)
async def test_a_row_that_is_not_what_was_stored(file: Path, row: tuple[object, ...]) -> None:
    """The store is rebuilt without it, and the loss is reported."""
    losses: list[object] = []
    async with open_outbox(file, on_loss=losses.append) as outbox:
        await outbox.commit(commit_rows(changes(ROWS)), 10)
        await outbox._writer.run(
            lambda connection: connection.execute(
                "INSERT INTO incident_rows (kind, key, content) VALUES (?, ?, ?)", row
            )
        )
        assert await outbox.incident_rows() == list(ROWS)
        assert len(losses) == 1


async def test_rows_are_recovered_from_a_corrupt_store(file: Path) -> None:
    """All but those of the damaged page; all can be stored again while relay runs."""
    rows = [large_row(number, 500) for number in range(200)]
    losses: list[object] = []
    async with open_outbox(file) as outbox:
        await outbox.commit(commit_rows(changes(rows)), 10)
    content = bytearray(file.read_bytes())
    pages = [at for at in range(4096, len(content), 4096) if content.count(b'xxx"', at, at + 4096)]
    damaged = pages[len(pages) // 2]
    content[damaged : damaged + 4096] = b"\xa5" * 4096
    file.write_bytes(content)
    async with open_outbox(file, on_loss=losses.append) as outbox:
        assert len(losses) == 1
        left = await outbox.incident_rows()
        assert 180 < len(left) < 200
        assert set(left) < set(rows)
        await outbox.save_incident_rows(changes(rows))
        assert sorted(await outbox.incident_rows()) == sorted(rows)


@pytest.mark.parametrize("when_full", ["drop-oldest", "drop-new"])
async def test_rows_are_never_evicted(when_full: WhenFull) -> None:
    """They count for the quota: dead letters are evicted for them, then deliveries."""
    async with open_outbox(None, max_size=MAX_BYTES, when_full=when_full) as outbox:
        dead = [make_large_update(number) for number in range(50)]
        await outbox.commit(make_commit(*dead), 10)
        for each in await fetch_due(outbox, 10):
            await outbox.ack([Ack(each, Dead(Reason.REFUSED))], 10, flush=True)
        await outbox.commit(
            make_commit(*(make_large_update(number) for number in range(50, 100))), 10
        )
        rows: dict[tuple[str, str], bytes | None] = {}
        evicted = dead_letters = 0
        for start in range(0, 300, 10):
            more = changes([large_row(number) for number in range(start, start + 10)])
            result = await outbox.commit(commit_rows(more), 10)
            rows |= more
            evicted += len(result.evicted_messages)
            dead_letters += result.dead_letters_evicted
            assert dead_letters == 50 or not evicted
        assert dead_letters == 50
        assert evicted == (50 if when_full == "drop-oldest" else 0)
        assert changes(await outbox.incident_rows()) == rows
        refused = await outbox.commit(make_commit(make_large_update(999)), 10)
        assert refused.evicted_messages == (("ops", make_large_update(999).id),)


async def test_a_full_store_evicts_nothing_for_a_batch_without_rows() -> None:
    """A cursor that moves has always been stored without it."""
    async with open_outbox(None, max_size=MAX_BYTES) as outbox:
        await outbox.commit(make_commit(*(make_large_update(number) for number in range(50))), 10)
        await outbox.save_incident_rows(changes([large_row(number) for number in range(300)]))
        moved = make_commit(checkpoint=Checkpoint.starting_at(9))
        assert (await outbox.commit(moved, 10)).evicted == 0
        assert (await outbox.commit(commit_rows({ROWS[0][:2]: b"{}"}), 10)).evicted > 0


_sizes = st.lists(st.integers(0, 9 * MAX_CHANGE_BYTES), min_size=1, max_size=6)


@given(st.lists(st.tuples(_sizes, st.integers(0, 9)), max_size=6), st.integers(0, 200))
def test_the_bound_of_the_used_space_holds_for_rows(
    steps: list[tuple[list[int], int]], key_chars: int
) -> None:
    """It is never less than what is used, so that measuring less often evicts the same."""
    used = UsedSpace()
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as store:
        migrate(store, 0)
        used.reserve([], 2**40, store)
        for sizes, first in steps:
            key = "ü" * key_chars
            rows = {
                ("incident", f"{key}{first + at}"): b'"%s"' % (b"x" * size)
                for at, size in enumerate(sizes)
            }
            save_incident_rows(rows, used, store)
            used.reserve([], 2**40, store)
            assert bytes_used(store) <= used._max_pages * 4096


KILLED_COMMIT = """
import asyncio, sys
from pathlib import Path
from relay.store.outbox import open_outbox
from tests.crash.points import Moment, Point, arm
from tests.unit.store import test_incidents

async def main():
    file, target, moment = sys.argv[1:]
    arm(Point("here", target, Moment(moment), 1), 1)
    async with open_outbox(Path(file)) as outbox:
        await outbox.commit(test_incidents.SECOND_COMMIT, 20)

asyncio.run(main())
"""

SECOND_COMMIT = msgspec.structs.replace(
    commit_rows(
        {ROWS[0][:2]: b"[]", ROWS[1][:2]: None, ("group", "new"): b"{}"}, make_update(2, "new")
    ),
    checkpoint=Checkpoint.starting_at(9),
)


@pytest.mark.parametrize(
    ("target", "moment", "is_stored"),
    [
        ("INTO cursors", Moment.BEFORE, False),
        ("DELETE FROM incident_rows", Moment.BEFORE, False),
        ("INTO incident_rows", Moment.BEFORE, False),
        ("INTO deliveries", Moment.BEFORE, False),
        ("COMMIT", Moment.BEFORE, False),
        ("relay.store.writer:_transact", Moment.AFTER, True),
    ],
)
async def test_relay_is_killed_while_it_stores_rows(
    file: Path, target: str, moment: Moment, is_stored: bool
) -> None:
    """Rows, cursor and messages of a commit are all there, or all as before."""
    async with open_outbox(file) as outbox:
        await outbox.commit(commit_rows(changes(ROWS), make_update(1)), 10)
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED_COMMIT, str(file), target, moment
    )
    assert await killed.wait() == -signal.SIGKILL
    async with open_outbox(file) as outbox:
        rows = changes(await outbox.incident_rows())
        checkpoint = await outbox.checkpoint("here")
        numbers = await due_numbers(outbox, 20)
    before, added = changes(ROWS), SECOND_COMMIT.incident_rows
    after = {key: content for key, content in {**before, **added}.items() if content is not None}
    assert rows == (after if is_stored else before)
    assert checkpoint == (SECOND_COMMIT.checkpoint if is_stored else None)
    assert numbers == ([1, 2] if is_stored else [1])


async def test_a_store_without_rows_of_incidents_is_migrated(file: Path) -> None:
    """Its deliveries are of events; what is committed from then on is found again."""
    with closing(sqlite3.connect(file)) as store:
        migrate(store, 0, to=4)
        content = msgspec.json.encode(make_notification(1))
        store.execute(
            "INSERT INTO deliveries (destination, chain, notification, created_ns, due_ns)"
            " VALUES ('ops', 7, ?, 10, 10)",
            (content,),
        )
        store.commit()
    async with open_outbox(file) as outbox:
        assert await outbox.incident_rows() == []
        await outbox.commit(commit_rows(changes(ROWS), make_update(2)), 10)
        assert await due_numbers(outbox, 10) == [1, 2]
        keys = [("ops", each.id) for each in (make_notification(1), make_update(2))]
        assert (await outbox.message_fates(keys)).waiting == {keys[1]}
        assert await outbox.incident_rows() == list(ROWS)
        assert (await outbox.expire("ops", 10, 20)).messages == (keys[1],)
