"""A store whose files are removed, replaced or locked while relay runs."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.core.checkpoint import Checkpoint
from relay.core.errors import StoreError
from relay.store.faults import StoreFault, StoreStatus
from relay.store.files import acquire_lock
from relay.store.outbox import Outbox, open_outbox
from tests.unit.store.samples import due_numbers, make_commit, make_notification

CHECKPOINT = Checkpoint.starting_at(7)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store may be created."""
    return tmp_path / "state" / "relay.db"


@pytest.fixture
async def outbox(file: Path) -> AsyncIterator[Outbox]:
    """A store with one delivery and a cursor."""
    async with open_outbox(file) as opened:
        await opened.commit(make_commit(make_notification(1, "a"), checkpoint=CHECKPOINT), 10)
        yield opened


async def wait_until(done: Callable[[], bool]) -> None:
    """Return as soon as the condition holds; fail after ten seconds."""
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.01)


def numbers_on_disk(file: Path) -> list[int]:
    """Return the due deliveries that a start after a crash would find, from a copy of the files."""
    copy = file.parent.parent / "after-a-crash"
    copy.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{file}{suffix}", f"{copy / file.name}{suffix}")

    async def read_numbers() -> list[int]:
        async with open_outbox(copy / file.name) as outbox:
            assert await outbox.checkpoint("here") == CHECKPOINT
            return await due_numbers(outbox, 10)

    with closing(asyncio.new_event_loop()) as loop:
        return loop.run_until_complete(read_numbers())


def remove(*suffixes: str) -> Callable[[Path], None]:
    def do(file: Path) -> None:
        for suffix in suffixes:
            Path(f"{file}{suffix}").unlink()

    return do


def remove_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


def rename(file: Path) -> None:
    file.rename(file.parent.parent / "moved")


@pytest.mark.parametrize(
    "harm",
    [
        remove(""),
        remove("", "-wal"),
        remove("", "-wal", "-shm"),
        remove("-wal"),
        remove("-shm"),
        remove("", "-wal", "-shm", ".lock"),
        remove_folder,
        rename,
    ],
    ids=["db", "db+wal", "db+wal+shm", "wal", "shm", "all", "folder", "renamed"],
)
async def test_removed_files_are_restored(
    file: Path, outbox: Outbox, harm: Callable[[Path], None]
) -> None:
    """When the next call returns, all files are there again, readable by their user only, and
    locked.
    """
    harm(file)
    with capture_logs() as logs:
        await outbox.commit(make_commit(make_notification(2, "b")), 10)
    assert [line["event"] for line in logs] == ["store.restored"]
    assert await due_numbers(outbox, 10) == [1, 2]
    modes = {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()}
    assert modes == dict.fromkeys(
        ("relay.db", "relay.db-wal", "relay.db-shm", "relay.db.lock"), 0o600
    )
    assert file.parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(StoreError, match="in use by another relay"):
        acquire_lock(file)
    assert await asyncio.to_thread(numbers_on_disk, file) == [1, 2]


async def test_restored_files_can_be_removed_again(file: Path, outbox: Outbox) -> None:
    """Files that are removed again are restored again, and the store can be closed and reopened."""
    for number in (2, 3):
        file.unlink()
        await outbox.commit(make_commit(make_notification(number, f"c{number}")), 10)
    await outbox._writer.close()
    async with open_outbox(file) as again:
        assert await due_numbers(again, 10) == [1, 2, 3]


async def test_a_removed_lock_is_taken_again(file: Path, outbox: Outbox) -> None:
    """A removed lock file is created and locked again; the store's other files stay as they are."""
    before = file.stat().st_ino
    Path(f"{file}.lock").unlink()
    await outbox.pending()
    with pytest.raises(StoreError, match="in use by another relay"):
        acquire_lock(file)
    assert file.stat().st_ino == before


async def test_a_file_in_the_stores_place_is_moved_aside(file: Path, outbox: Outbox) -> None:
    """A foreign file at the store's path is moved aside, not overwritten."""
    remove("", "-wal", "-shm")(file)
    file.write_text("somebody's")
    with capture_logs() as logs:
        assert await due_numbers(outbox, 10) == [1]
    assert [line["event"] for line in logs] == ["store.restored"]
    (displaced,) = file.parent.glob("relay.db.displaced-*")
    assert displaced.read_text() == "somebody's"
    assert logs[0]["displaced"] == str(displaced)
    assert await asyncio.to_thread(numbers_on_disk, file) == [1]


async def test_another_relays_store_is_not_touched(file: Path, outbox: Outbox) -> None:
    """If another relay uses a new store at the path, this one waits until that relay has ended."""
    remove_folder(file)
    theirs = acquire_lock(file)
    file.write_text("theirs")
    with capture_logs() as logs:
        waiting = asyncio.create_task(due_numbers(outbox, 10))
        await wait_until(lambda: outbox.status.reason is not None)
        assert outbox.status.reason is StoreFault.REFUSED
        assert file.read_text() == "theirs"
        os.close(theirs)
        assert await waiting == [1]
    assert [x["event"] for x in logs] == ["store.failing", "store.restored", "store.recovered"]


async def test_calls_wait_until_the_store_can_be_restored(file: Path, outbox: Outbox) -> None:
    """No call returns before the store is restored; nothing is lost and no file is left over."""
    remove_folder(file)
    file.parent.touch()
    waiting = asyncio.create_task(outbox.commit(make_commit(make_notification(2, "b")), 10))
    await wait_until(lambda: outbox.status.reason is not None)
    assert outbox.status.reason is StoreFault.IO
    assert not waiting.done()
    file.parent.unlink()
    await waiting
    assert outbox.status == StoreStatus()
    assert await asyncio.to_thread(numbers_on_disk, file) == [1, 2]
    assert len(list(file.parent.iterdir())) == 4


async def test_calls_wait_for_a_program_that_locks_the_file(file: Path, outbox: Outbox) -> None:
    """Calls wait as long as another program locks the file."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(outbox.commit(make_commit(make_notification(2, "b")), 10))
        await wait_until(lambda: outbox.status.reason is not None)
        assert outbox.status.reason is StoreFault.BUSY
        other.execute("ROLLBACK")
        await waiting
    assert await due_numbers(outbox, 10) == [1, 2]


async def test_a_connection_that_cannot_write_is_reopened(file: Path, outbox: Outbox) -> None:
    """A connection that cannot write is replaced by a new one to the same file."""

    def spoil(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA query_only = 1")

    await outbox._writer.run(spoil)
    await outbox.commit(make_commit(make_notification(2, "b")), 10)
    assert await due_numbers(outbox, 10) == [1, 2]


async def test_a_log_that_fills_the_disk_is_checkpointed(file: Path, outbox: Outbox) -> None:
    """On a full disk the log is checkpointed: its space may be all that is missing."""

    def work(connection: sqlite3.Connection) -> None:
        (limit,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {limit}")

    await outbox._writer.run(work)
    big = make_commit(*(make_notification(number, "x" * 4000) for number in range(2, 9)))
    waiting = asyncio.create_task(outbox.commit(big, 10))
    await wait_until(lambda: outbox.status.reason is not None)
    assert outbox.status.reason is StoreFault.FULL
    waiting.cancel()
    await wait_until(lambda: not Path(f"{file}-wal").stat().st_size)
