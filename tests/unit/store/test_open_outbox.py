"""Opening a store's file: what it keeps, who may read it, and which files are refused."""

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay.core.checkpoint import (
    CHUNK_EVENTS,
    SEALED_CHUNKS,
    SEEN_BYTES,
    Checkpoint,
    decode_seen,
    encode_seen,
)
from relay.core.container import Container
from relay.core.errors import StoreError
from relay.core.exchange import Dead, Delivered, Reason, Retry
from relay.core.notification import Notification
from relay.store import acks
from relay.store.outbox import open_outbox
from relay.store.records import Ack, IngestCommit
from relay.store.schema import migrate
from tests.unit.store.samples import fill_version_1, make_commit, make_notification

CHUNK_BYTES = CHUNK_EVENTS * SEEN_BYTES
CHECKPOINT = Checkpoint(7, 3, encode_seen(make_notification(1).events[0].id, 5))
FULL_CHECKPOINT = Checkpoint(
    7,
    3,
    encode_seen(make_notification(1).events[0].id, 5),
    4,
    True,
    6,
    "engine-1",
    blind_window=(5, 9),
    unreported_drops=(("buffer_full", 5, 9, 7),),
    sealed=(b"a" * CHUNK_BYTES, b"b" * CHUNK_BYTES),
    sealed_count=2,
)
CONTAINER = Container(
    "c1",
    name="web",
    image="bb:1",
    labels={"exitCode": "3", "a": "b\0ü"},
    exit_code_hidden=True,
    signal_hidden=True,
    started_ns=1,
    died_ns=2,
    inferred_ns=3,
    requested_ns=4,
    unknown_signal_ns=5,
    oom_ns=6,
    oom_inferred_ns=7,
    stop_signal=3,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store may be created."""
    return tmp_path / "state" / "relay.db"


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


async def make_store(file: Path) -> None:
    async with open_outbox(file):
        pass


async def refusal_message(file: Path) -> str:
    """The message for a store that cannot be used: one line that names it."""
    with pytest.raises(StoreError) as caught:
        await make_store(file)
    text = str(caught.value)
    assert "\n" not in text
    assert str(file) in text
    return text


async def test_a_closed_store_keeps_its_content(file: Path) -> None:
    """A reopened store has all deliveries with their attempts and order, and the cursor."""
    async with open_outbox(file) as outbox:
        await outbox.commit(
            make_commit(make_notification(1), make_notification(2), checkpoint=CHECKPOINT), 10
        )
        (head,) = (await outbox.fetch_due("ops", 10, 9)).deliveries
        await outbox.ack([Ack(head, Retry(0, Reason.UNAVAILABLE))], 20, flush=True)
    async with open_outbox(file) as outbox:
        (again,) = (await outbox.fetch_due("ops", 20, 9)).deliveries
        assert (again.notification, again.attempts, again.created_ns) == (
            make_notification(1),
            1,
            10,
        )
        assert await outbox.pending() == {"ops": 2}
        assert await outbox.checkpoint("here") == CHECKPOINT


async def test_deliveries_and_the_cursor_are_one_commit(file: Path) -> None:
    """If a delivery cannot be stored, the cursor does not move past its event."""

    class Odd:
        """A value that cannot be encoded."""

    async with open_outbox(file) as outbox:
        await outbox.commit(make_commit(checkpoint=CHECKPOINT), 10)
        odd = msgspec.structs.replace(make_notification(2), route=Odd())
        with pytest.raises(TypeError):
            await outbox.commit(
                make_commit(make_notification(1), odd, checkpoint=Checkpoint.starting_at(99)), 10
            )
        assert await outbox.checkpoint("here") == CHECKPOINT
        assert await outbox.pending() == {}


async def test_a_commit_is_in_the_file(file: Path) -> None:
    """Another process sees a commit as soon as the call returns."""
    async with open_outbox(file) as outbox:
        await outbox.commit(make_commit(make_notification(1), checkpoint=CHECKPOINT), 10)
        assert rows(file, "SELECT engine, position_ns FROM cursors") == [("here", 7)]
        assert rows(file, "SELECT destination, due_ns FROM deliveries") == [("ops", 10)]


async def test_dead_letters_are_in_the_file(file: Path) -> None:
    """A reopened store has the dead letters with notification, reason and attempts."""
    async with open_outbox(file) as outbox:
        await outbox.commit(make_commit(make_notification(1)), 10)
        for now_ns, outcome in ((20, Retry(0, Reason.UNAVAILABLE)), (30, Dead(Reason.EXPIRED))):
            (head,) = (await outbox.fetch_due("ops", now_ns, 9)).deliveries
            await outbox.ack([Ack(head, outcome)], now_ns, flush=True)
        assert await outbox.pending() == {}
    ((notification, *rest),) = rows(
        file,
        "SELECT notification, destination, created_ns, died_ns, attempts, reason FROM dead_letters",
    )
    assert msgspec.json.decode(notification, type=Notification) == make_notification(1)
    assert rest == ["ops", 10, 30, 2, "expired"]


async def test_every_commit_is_synced(file: Path) -> None:
    """A commit survives a power cut: WAL needs ``synchronous = FULL`` for that."""
    async with open_outbox(file) as outbox:
        pragmas = await outbox._writer.run(
            lambda connection: [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous")
            ]
        )
    assert pragmas == ["wal", 2]


async def test_only_its_user_may_read_the_store(file: Path) -> None:
    """All files of the store are readable by their user only, because they contain labels."""
    before = os.umask(0)
    try:
        async with open_outbox(file) as outbox:
            await outbox.commit(make_commit(make_notification(1)), 10)
            modes = {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(
        ("relay.db", "relay.db-wal", "relay.db-shm", "relay.db.lock"), 0o600
    )
    assert file.parent.stat().st_mode & 0o777 == 0o700


async def test_a_newer_store_is_refused(file: Path) -> None:
    """A store that a newer relay wrote is refused and stays unchanged."""
    await make_store(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert "newer relay (schema 99" in await refusal_message(file)
    assert rows(file, "PRAGMA user_version") == [(99,)]


async def test_another_programs_database_is_refused(file: Path) -> None:
    """Another program's database is refused, and nothing is added to it."""
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    assert "is not relay's" in await refusal_message(file)
    assert rows(file, "SELECT name FROM sqlite_schema") == [("theirs",)]


async def test_a_file_that_is_not_a_database_is_refused(file: Path) -> None:
    """A file that is not a database is refused and not overwritten."""
    file.parent.mkdir()
    file.write_bytes(b"dear diary, " * 1000)
    assert "not a database" in await refusal_message(file)
    assert file.read_bytes() == b"dear diary, " * 1000


async def test_an_empty_file_becomes_a_store(file: Path) -> None:
    """An empty file, perhaps created to set its owner, becomes a store."""
    file.parent.mkdir()
    file.touch()
    await make_store(file)
    assert rows(file, "PRAGMA user_version") == [(4,)]


async def test_a_store_of_version_1_is_migrated(file: Path) -> None:
    """Its content is kept: no delivery waits longer, and the cursor does not move."""
    file.parent.mkdir()
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
        assert await outbox.containers("here") == []
    assert rows(file, "PRAGMA user_version") == [(4,)]


async def test_a_version_1_cursor_without_events_is_not_continuous(file: Path) -> None:
    """Such a cursor does not require any event to be in the engine's history."""
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as connection:
        migrate(connection, 0, to=1)
        connection.execute("INSERT INTO cursors VALUES ('here', 7, 3, x'')")
        connection.commit()
    async with open_outbox(file) as outbox:
        assert await outbox.checkpoint("here") == Checkpoint(
            7, 3, first_start_ns=3, reported_until_ns=7
        )


VERSION_3_CONTAINER = (
    b'{"id":"c1","name":"web","image":"bb:1","labels":{"a":"b\\u0000"},"exit_code_hidden":true,'
    b'"started_ns":1,"died_ns":2,"inferred_ns":3,"asked_ns":4,"killed_ns":5,"oom_ns":6,'
    b'"oom_inferred_ns":7,"stop_signal":3}'
)


@pytest.mark.parametrize("count", [0, 1, 32, 33, 512])
async def test_a_store_of_version_3_is_migrated(file: Path, count: int) -> None:
    """No remembered event is forgotten, and no container's time or label."""
    seen = [(f"evt_{number:032x}", number - 5) for number in range(count)]
    file.parent.mkdir()
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
        described = msgspec.structs.replace(CONTAINER, labels={"a": "b\0"}, signal_hidden=False)
        assert await outbox.containers("here") == [described, Container("c2")]


@pytest.mark.parametrize("state", [b"{", b"\xff", b'{"id":"c1","died_ns":"x"}'])
async def test_a_container_of_version_3_that_is_corrupt(file: Path, state: bytes) -> None:
    """It does not keep the store from being migrated; it is found when it is read."""
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as connection:
        migrate(connection, 0, to=3)
        connection.execute("INSERT INTO containers VALUES ('here', 'c1', ?)", (state,))
        connection.commit()
    async with open_outbox(file) as outbox:
        assert await outbox.containers("here") == []
    assert list(file.parent.glob("relay.db.broken-*"))


def sealed_commit(chunks: int, first: int) -> IngestCommit:
    """The commit of a cursor that filled this many chunks; those before ``first`` are stored."""
    kept = range(max(0, chunks - SEALED_CHUNKS), chunks)
    checkpoint = Checkpoint(
        7, 3, sealed=tuple(bytes([number]) * CHUNK_BYTES for number in kept), sealed_count=chunks
    )
    return IngestCommit("here", checkpoint, [], first_chunk=first)


async def test_full_chunks_are_stored_once(file: Path) -> None:
    """Each commit adds those that are new, and deletes those that the cursor forgot."""
    async with open_outbox(file) as outbox:
        for first, chunks in ((0, 0), (0, 3), (3, 3), (3, SEALED_CHUNKS + 5)):
            commit = sealed_commit(chunks, first)
            await outbox.commit(commit, 10)
            await outbox.commit(commit, 10)  # as if the disk had failed after the commit
            assert await outbox.checkpoint("here") == commit.checkpoint
            assert await outbox.checkpoint("there") is None
    numbers = [(number,) for number in range(5, SEALED_CHUNKS + 5)]
    assert rows(file, "SELECT number FROM recent_events ORDER BY number") == numbers


async def test_a_new_store_gets_all_chunks(file: Path) -> None:
    """A commit that begins with the first chunk needs nothing that is stored."""
    async with open_outbox(file) as outbox:
        commit = sealed_commit(40, 0)
        await outbox.commit(commit, 10)
        assert await outbox.checkpoint("here") == commit.checkpoint


@pytest.mark.parametrize("together", [False, True])
async def test_only_the_times_of_a_container_are_stored(file: Path, together: bool) -> None:
    """What is constant stays; a container that the store has lost stays lost."""
    later = msgspec.structs.replace(CONTAINER, died_ns=9, requested_ns=None, labels={})
    lost = Container("c2", died_ns=9)
    async with open_outbox(file) as outbox:
        await outbox.commit(IngestCommit("here", None, [], [CONTAINER]), 10)
        for changed in [[later, lost]] if together else [[later], [lost]]:
            await outbox.commit(IngestCommit("here", None, [], container_times=changed), 10)
        assert await outbox.containers("here") == [
            msgspec.structs.replace(CONTAINER, died_ns=9, requested_ns=None)
        ]


@pytest.mark.parametrize("checkpoint", [CHECKPOINT, FULL_CHECKPOINT])
async def test_a_checkpoint_is_stored_completely(file: Path, checkpoint: Checkpoint) -> None:
    """All fields of a checkpoint are stored, set or not."""
    async with open_outbox(file) as outbox:
        await outbox.commit(make_commit(checkpoint=checkpoint), 10)
    async with open_outbox(file) as outbox:
        assert await outbox.checkpoint("here") == checkpoint


async def test_a_container_is_stored_completely(file: Path) -> None:
    """All fields of a container are stored."""
    assert all(
        value != fields.default
        for value, fields in zip(
            msgspec.structs.astuple(CONTAINER), msgspec.structs.fields(Container), strict=True
        )
    )
    async with open_outbox(file) as outbox:
        await outbox.commit(IngestCommit("here", None, [], [CONTAINER]), 10)
    async with open_outbox(file) as outbox:
        assert await outbox.containers("here") == [CONTAINER]


async def test_the_number_of_evictions_is_stored_until_it_is_declared(file: Path) -> None:
    """The number survives a restart; it is counted in the commit that evicts."""
    many = [make_notification(number, "x" * 3000) for number in range(400)]
    async with open_outbox(file, max_size=256 * 1024) as outbox:
        result = await outbox.commit(make_commit(*many), 10)
        assert result.undeclared_evictions == result.evicted > 0
    async with open_outbox(file) as outbox:
        again = await outbox.commit(make_commit(), 10)
        assert (again.evicted, again.undeclared_evictions) == (0, result.evicted)
        declared = IngestCommit("here", None, [], declared_evictions=result.evicted - 2)
        assert (await outbox.commit(declared, 10)).undeclared_evictions == 2
        assert (await outbox.commit(declared, 10)).undeclared_evictions == 0


async def test_only_one_relay_uses_a_store(file: Path) -> None:
    """The second relay is refused with the first one's pid; later the store is free."""
    async with open_outbox(file):
        assert f"in use by another relay (pid {os.getpid()})" in await refusal_message(file)
    await make_store(file)


async def test_a_lock_without_a_pid_is_reported_as_unknown(file: Path) -> None:
    """A lock whose holder has not written its pid yet is reported with an unknown pid."""
    file.parent.mkdir()
    lock = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "(pid unknown)" in await refusal_message(file)
    finally:
        os.close(lock)


async def test_a_lock_file_without_a_lock_does_not_count(file: Path) -> None:
    """A lock file that no process locks, as after a crash, does not keep relay from starting."""
    file.parent.mkdir()
    Path(f"{file}.lock").write_text("4194304000\n")
    await make_store(file)


async def test_a_folder_that_is_not_writable_is_refused(tmp_path: Path) -> None:
    """A folder that cannot be created, here because a file is in its place, is refused."""
    (tmp_path / "state").touch()
    assert "cannot be written" in await refusal_message(tmp_path / "state" / "relay.db")


async def test_a_refused_store_is_not_locked(file: Path) -> None:
    """After a refusal the same process can open the store once the cause is removed."""
    file.parent.mkdir()
    file.write_bytes(b"dear diary, " * 1000)
    await refusal_message(file)
    file.unlink()
    await make_store(file)


async def test_an_outbox_in_memory_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a configured path nothing is written."""
    monkeypatch.chdir(tmp_path)
    async with open_outbox(None) as outbox:
        await outbox.commit(IngestCommit("here", CHECKPOINT, []), 10)
        assert await outbox.checkpoint("here") == CHECKPOINT
    assert list(tmp_path.iterdir()) == []


async def test_outcomes_that_wait_are_stored_before_the_store_is_closed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise these deliveries would be sent again at the next start."""
    monkeypatch.setattr(acks, "ACK_LINGER_S", 3600)
    async with open_outbox(file) as outbox:
        await outbox.commit(make_commit(make_notification(1)), 10)
        (delivery,) = (await outbox.fetch_due("ops", 10, 9)).deliveries
        outbox.ack([Ack(delivery, Delivered())], 10)
    async with open_outbox(file) as outbox:
        assert await outbox.pending() == {}
