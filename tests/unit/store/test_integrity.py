"""A corrupt index is detected, and rebuilt in place."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.core.exchange import Delivered
from relay.store import recovery
from relay.store.outbox import open_outbox
from relay.store.records import Ack
from tests.unit.store.samples import deliver_all, make_commit, make_notification


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store may be created."""
    return tmp_path / "relay.db"


async def fill(file: Path) -> None:
    """Commit two deliveries about each of two subjects."""
    batch = [make_notification(number, f"c{number % 2}") for number in range(1, 5)]
    async with open_outbox(file) as outbox:
        await outbox.commit(make_commit(*batch), 10)


def empty_index(file: Path, index: str) -> None:
    """Overwrite an index's root page with an empty one, as an outdated page would be.

    See https://sqlite.org/fileformat2.html#b_tree_pages.
    """
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        (page,) = connection.execute(query, (index,)).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as opened:
        opened.seek((page - 1) * size)
        opened.write(b"\x0a\0\0\0\0" + size.to_bytes(2, "big") + bytes(size - 7))


@pytest.mark.parametrize("index", ["deliveries_due", "deliveries_chain"])
async def test_an_index_without_entries_is_rebuilt(file: Path, index: str) -> None:
    """The start rebuilds the index in place and logs it; nothing is lost or moved aside."""
    await fill(file)
    empty_index(file, index)
    with capture_logs() as logs:
        async with open_outbox(file) as outbox:
            assert await deliver_all(outbox) == [1, 2, 3, 4]
            assert await outbox.losses() == []
    (line,) = logs
    assert (line["event"], line["reason"]) == (
        "store.reindexed",
        f"row 1 missing from index {index}",
    )
    assert not list(file.parent.glob("*.broken-*"))


async def test_a_reindex_releases_waiting_deliveries(file: Path) -> None:
    """The first delivery about a subject becomes due if the index did not list it before."""
    await fill(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE deliveries SET due_ns = NULL")
        connection.commit()
    empty_index(file, "deliveries_chain")
    async with open_outbox(file) as outbox:
        assert await deliver_all(outbox) == [1, 2, 3, 4]


async def test_an_index_is_rebuilt_while_relay_runs(file: Path) -> None:
    """The index is rebuilt as soon as SQLite reports the error; the caller gets its result."""

    def forget(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA shrink_memory")  # so that all pages are read again

    await fill(file)
    async with open_outbox(file) as outbox:
        (head, _) = (await outbox.fetch_due("ops", 10, 9)).deliveries
        await outbox._writer.run(forget)
        empty_index(file, "deliveries_due")
        with capture_logs() as logs:
            await outbox.ack([Ack(head, Delivered())], 20, flush=True)
            assert await deliver_all(outbox) == [2, 3, 4]
            assert await outbox.losses() == []
    assert "store.reindexed" in [line["event"] for line in logs]


async def test_a_corrupt_table_is_left_as_it_is(file: Path) -> None:
    """A file that reindexing cannot repair is not written to."""
    await fill(file)
    content = bytearray(file.read_bytes())
    at = content.index(b'"ntf_') // 4096 * 4096
    content[at : at + 4096] = b"\xa5" * 4096
    file.write_bytes(content)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        assert recovery.find_corruption(connection) is not None
        assert not recovery.reindex(connection)
        assert not connection.in_transaction
    assert file.read_bytes() == content


def test_a_sound_database_is_not_corrupt() -> None:
    """A check of an empty database finds nothing."""
    with closing(sqlite3.connect(":memory:")) as connection:
        assert recovery.find_corruption(connection) is None


async def test_a_check_takes_memory_only_while_it_runs(file: Path) -> None:
    """Whatever a check finds, the page cache has its former limit afterwards."""
    await fill(file)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = -77")
        assert recovery.find_corruption(connection) is None
        assert connection.execute("PRAGMA cache_size").fetchone() == (-77,)
        empty_index(file, "deliveries_chain")
        assert recovery.find_corruption(connection) is not None
        assert connection.execute("PRAGMA cache_size").fetchone() == (-77,)


def test_a_file_that_is_not_a_database_is_corrupt(file: Path) -> None:
    """The corruption is described in SQLite's words."""
    file.write_bytes(b"dear diary, " * 1000)
    with closing(sqlite3.connect(file)) as connection:
        assert recovery.find_corruption(connection) == "file is not a database"
