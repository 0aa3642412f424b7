"""Stores of older versions are migrated when they are opened."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from relay.core.checkpoint import CHUNK_EVENTS, Checkpoint, decode_seen, encode_seen
from relay.core.container import Container
from relay.core.exchange import Dead, Reason
from relay.store.outbox import open_outbox
from relay.store.records import Ack, Selection
from relay.store.schema import NEWEST_VERSION, migrate
from tests.unit.store.samples import (
    CHECKPOINT,
    CHUNK_BYTES,
    fetch_due,
    fill_version_1,
    make_commit,
    make_notification,
    read_rows,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store may be created."""
    return tmp_path / "relay.db"


async def test_a_store_of_version_1_is_migrated(file: Path) -> None:
    """Its content is kept: no delivery waits longer, and the cursor does not move."""
    with closing(sqlite3.connect(file)) as connection:
        migrate(connection, 0, to=1)
        fill_version_1(connection)
    async with open_outbox(file) as outbox:
        (head,) = (await outbox.fetch_due("ops", 10, 9)).deliveries
        assert (head.notification, head.created_ns, head.attempts) == (make_notification(1), 10, 3)
        assert await outbox.pending() == {"ops": 2}
        assert await outbox.checkpoint("here") == Checkpoint(
            7,
            3,
            CHECKPOINT.recent,
            first_start_ns=3,
            is_continuous=True,
            reported_until_ns=7,
            identity=None,
        )
        assert await outbox.containers("here", list) == []
    assert read_rows(file, "PRAGMA user_version") == [(NEWEST_VERSION,)]


async def test_a_version_1_cursor_without_events_is_not_continuous(file: Path) -> None:
    """Such a cursor does not require any event to be in the engine's history."""
    with closing(sqlite3.connect(file)) as connection:
        migrate(connection, 0, to=1)
        connection.execute("INSERT INTO cursors VALUES ('here', 7, 3, x'')")
        connection.commit()
    async with open_outbox(file) as outbox:
        assert await outbox.checkpoint("here") == Checkpoint(
            7, 3, first_start_ns=3, reported_until_ns=7
        )


async def test_dead_letters_of_version_2_are_migrated(file: Path) -> None:
    """With their numbers, found by route and id like new ones; no number is used again."""
    with closing(sqlite3.connect(file)) as connection:
        migrate(connection, 0, to=2)
        for number, content in (
            (3, msgspec.json.encode(make_notification(3))),
            (7, msgspec.json.encode(make_notification(7))),
        ):
            connection.execute(
                "INSERT INTO dead_letters VALUES (?, 'ops', ?, 10, 20, 4, 'expired')",
                (number, content),
            )
        connection.commit()
    async with open_outbox(file) as outbox:
        found = await outbox.dead_letters(Selection(route="crashed"), 9)
        assert [dead_letter.number for dead_letter in found] == [7, 3]
        assert [dead_letter.answer for dead_letter in found] == [None, None]
        (one,) = await outbox.dead_letters(Selection(ids=(make_notification(3).id,)), 9)
        assert one.notification == make_notification(3)
        assert await outbox.drop_dead_letters(Selection()) == 2
        await outbox.commit(make_commit(make_notification(9)), 10)
        (head,) = await fetch_due(outbox, 10)
        await outbox.ack([Ack(head, Dead(Reason.REFUSED))], 20, flush=True)
        assert [
            dead_letter.number for dead_letter in await outbox.dead_letters(Selection(), 9)
        ] == [8]


VERSION_3_CONTAINER = (
    b'{"id":"c1","name":"web","image":"bb:1","labels":{"a":"b\\u0000"},"exit_code_hidden":true,'
    b'"started_ns":1,"died_ns":2,"inferred_ns":3,"asked_ns":4,"killed_ns":5,"oom_ns":6,'
    b'"oom_inferred_ns":7,"stop_signal":3}'
)


@pytest.mark.parametrize("count", [0, 1, 32, 33, 512])
async def test_a_store_of_version_3_is_migrated(file: Path, count: int) -> None:
    """No remembered event is forgotten, and no container's time or label."""
    seen = [(f"evt_{number:032x}", number - 5) for number in range(count)]
    with closing(sqlite3.connect(file)) as connection:
        migrate(connection, 0, to=3)
        recent = b"".join(encode_seen(*each) for each in seen)
        for engine in ("here", "there"):
            connection.execute(
                "INSERT INTO cursors (engine, position_ns, floor_ns, recent) VALUES (?, 7, 3, ?)",
                (engine, recent),
            )
        for id_, state in (("c1", VERSION_3_CONTAINER), ("c2", b'{"id":"c2"}')):
            connection.execute("INSERT INTO containers VALUES ('here', ?, ?)", (id_, state))
        connection.commit()
    async with open_outbox(file) as outbox:
        for engine in ("here", "there"):
            checkpoint = await outbox.checkpoint(engine)
            assert checkpoint is not None
            chunks = (*checkpoint.sealed, checkpoint.recent)
            assert [each for chunk in chunks for each in decode_seen(chunk)] == seen
            assert checkpoint.sealed_count == len(checkpoint.sealed) == count // CHUNK_EVENTS
            assert {len(chunk) for chunk in checkpoint.sealed} <= {CHUNK_BYTES}
        # Whatever else is known of a container was added since then.
        described = Container(
            "c1",
            "web",
            "bb:1",
            {"a": "b\0"},
            exit_code_hidden=True,
            started_ns=1,
            died_ns=2,
            inferred_ns=3,
            requested_ns=4,
            signal_ns=5,
            oom_ns=6,
            oom_inferred_ns=7,
            stop_signal=3,
        )
        assert await outbox.containers("here", list) == [described, Container("c2")]


@pytest.mark.parametrize("state", [b"{", b"\xff", b'{"id":"c1","died_ns":"x"}'])
async def test_a_container_of_version_3_that_is_corrupt(file: Path, state: bytes) -> None:
    """It does not keep the store from being migrated; it is found when it is read."""
    with closing(sqlite3.connect(file)) as connection:
        migrate(connection, 0, to=3)
        connection.execute("INSERT INTO containers VALUES ('here', 'c1', ?)", (state,))
        connection.commit()
    async with open_outbox(file) as outbox:
        assert await outbox.containers("here", list) == []
    assert list(file.parent.glob("relay.db.broken-*"))
