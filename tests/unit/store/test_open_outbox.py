"""The store's file: what is in it, who may read it, and which files cannot be opened."""

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from relay.core.checkpoint import Checkpoint
from relay.core.errors import StoreError
from relay.core.exchange import Dead, Delivered, Reason, Retry
from relay.core.notification import Notification
from relay.store import acks
from relay.store.outbox import open_outbox
from relay.store.records import Ack, IngestCommit
from relay.store.schema import NEWEST_VERSION
from tests.unit.store.samples import CHECKPOINT, make_commit, make_notification, read_rows


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store may be created."""
    return tmp_path / "state" / "relay.db"


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
        assert read_rows(file, "SELECT engine, position_ns FROM cursors") == [("here", 7)]
        assert read_rows(file, "SELECT destination, due_ns FROM deliveries") == [("ops", 10)]


async def test_dead_letters_are_in_the_file(file: Path) -> None:
    """A reopened store has the dead letters with notification, reason and attempts."""
    async with open_outbox(file) as outbox:
        await outbox.commit(make_commit(make_notification(1)), 10)
        for now_ns, outcome in ((20, Retry(0, Reason.UNAVAILABLE)), (30, Dead(Reason.EXPIRED))):
            (head,) = (await outbox.fetch_due("ops", now_ns, 9)).deliveries
            await outbox.ack([Ack(head, outcome)], now_ns, flush=True)
        assert await outbox.pending() == {}
    ((notification, *rest),) = read_rows(
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
    assert read_rows(file, "PRAGMA user_version") == [(99,)]


async def test_another_programs_database_is_refused(file: Path) -> None:
    """Another program's database is refused, and nothing is added to it."""
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    assert "is not relay's" in await refusal_message(file)
    assert read_rows(file, "SELECT name FROM sqlite_schema") == [("theirs",)]


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
    assert read_rows(file, "PRAGMA user_version") == [(NEWEST_VERSION,)]


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
