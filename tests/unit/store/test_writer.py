"""The writer thread commits all queued operations in one transaction."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from relay.store.faults import Corrupt, StoreFault, StoreStatus
from relay.store.writer import StoreWriter, retry_delays_s


class FakeBackend:
    """An empty table in memory, a record of all calls, and a disk that can be made to fail."""

    def __init__(self, cure: str = "") -> None:
        """``cure`` is the statement that ends a failure, once `healed` is set."""
        self.statements: list[str] = []
        self.verified_after: list[int] = []
        self.repaired: list[StoreFault] = []
        self.failing, self.healed, self.closed = (threading.Event() for _ in range(3))
        self._cure = cure

    def open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.execute("CREATE TABLE numbers (number INTEGER)")
        connection.set_trace_callback(self.statements.append)
        return connection

    def verify(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        self.verified_after.append(self.commits)
        return connection

    def repair(
        self, connection: sqlite3.Connection, fault: StoreFault, error: Exception
    ) -> sqlite3.Connection:
        self.repaired.append(fault)
        if self.healed.is_set():
            connection.execute(self._cure)
        self.failing.set()
        return connection

    def close(self, connection: sqlite3.Connection) -> None:
        self.closed.set()
        connection.close()

    @property
    def commits(self) -> int:
        return self.statements.count("COMMIT")


@asynccontextmanager
async def running_writer(backend: FakeBackend) -> AsyncIterator[StoreWriter]:
    committer = StoreWriter(backend)
    await committer.start()
    try:
        yield committer
    finally:
        await committer.close()


def insert_number(number: int) -> Callable[[sqlite3.Connection], int]:
    def add(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return add


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT number FROM numbers")]


@asynccontextmanager
async def writer_blocked(committer: StoreWriter) -> AsyncIterator[None]:
    """Keep the writer busy while the context lasts, so that calls are queued."""
    at_work, go_on = threading.Event(), threading.Event()

    def work(_: sqlite3.Connection) -> None:
        at_work.set()
        go_on.wait()

    working = asyncio.ensure_future(committer.run(work))
    await asyncio.to_thread(at_work.wait)
    try:
        yield
    finally:
        go_on.set()
        await working


async def start_jobs(committer: StoreWriter, count: int) -> list[asyncio.Task[int]]:
    """Queue this many operations."""
    tasks = [asyncio.create_task(committer.run(insert_number(number))) for number in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_many_calls_go_into_one_transaction() -> None:
    """All that were queued during one transaction; each gets its own result, in order."""
    database = FakeBackend()
    async with running_writer(database) as committer:
        async with writer_blocked(committer):
            tasks = await start_jobs(committer, 200)
        assert await asyncio.gather(*tasks) == list(range(200))
        assert database.commits == 2
        assert await committer.run(numbers) == list(range(200))


async def test_an_operation_that_is_not_urgent_goes_with_the_next_one() -> None:
    """In one transaction, and it comes first."""
    database = FakeBackend()
    async with running_writer(database) as committer:
        later = committer.submit(insert_number(1), is_synced=False, is_urgent=False)
        assert await committer.run(numbers) == [1]
        assert later.done()
        assert (database.commits, await later) == (1, 1)


async def test_an_operation_that_is_not_urgent_is_committed_at_the_end() -> None:
    """Also if nothing else is submitted."""
    database = FakeBackend()
    async with running_writer(database) as committer:
        later = committer.submit(insert_number(1), is_urgent=False)
    assert await later == 1


async def test_a_transaction_is_not_synced_if_nothing_in_it_has_to_be() -> None:
    """All others are."""
    database, levels = FakeBackend(), list[int]()

    def read_level(connection: sqlite3.Connection) -> None:
        levels.append(connection.execute("PRAGMA synchronous").fetchone()[0])

    async with running_writer(database) as committer:
        await committer.run(read_level)
        await committer.submit(read_level, is_synced=False)
        committer.submit(read_level, is_synced=False, is_urgent=False)
        await committer.run(read_level)
    full, normal = 2, 1
    assert levels == [full, normal, full, full]


async def test_a_call_returns_after_its_commit() -> None:
    """The commit is the last statement before that."""
    database = FakeBackend()
    async with running_writer(database) as committer:
        await committer.run(insert_number(1))
        assert database.statements[-1] == "COMMIT"


async def test_one_failure_does_not_fail_the_others_of_its_transaction() -> None:
    """Only its own caller gets the error, and the others are committed, in order."""
    database = FakeBackend()

    def fail(_: sqlite3.Connection) -> int:
        raise ValueError("broken")

    async with running_writer(database) as committer:
        async with writer_blocked(committer):
            tasks = await start_jobs(committer, 2)
            tasks.append(asyncio.create_task(committer.run(fail)))
            tasks.append(asyncio.create_task(committer.run(insert_number(9))))
            await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(result) for result in results] == ["0", "1", "broken", "9"]
        assert await committer.run(numbers) == [0, 1, 9]


async def test_a_number_too_large_fails_alone() -> None:
    """SQLite's integers have 64 bits."""
    async with running_writer(FakeBackend()) as committer:
        async with writer_blocked(committer):
            poisoned = asyncio.create_task(committer.run(insert_number(2**63)))
            tasks = await start_jobs(committer, 2)
        with pytest.raises(OverflowError):
            await poisoned
        assert await asyncio.gather(*tasks) == [0, 1]


async def test_a_cancelled_caller_does_not_affect_others() -> None:
    """Its operation is committed all the same, and the others get their results."""
    async with running_writer(FakeBackend()) as committer:
        async with writer_blocked(committer):
            tasks = await start_jobs(committer, 3)
            tasks[1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [results[0], results[2]] == [0, 2]
        assert isinstance(results[1], asyncio.CancelledError)
        assert await committer.run(numbers) == [0, 1, 2]


async def test_closing_runs_what_is_queued() -> None:
    """Then it closes the connection and ends its thread."""
    database = FakeBackend()
    committer = StoreWriter(database)
    await committer.start()
    async with writer_blocked(committer):
        tasks = await start_jobs(committer, 3)
        closing = asyncio.ensure_future(committer.close())
        await asyncio.sleep(0)
    await closing
    assert [await task for task in tasks] == [0, 1, 2]
    assert "store" not in [thread.name for thread in threading.enumerate()]


async def test_a_cancelled_start_closes_the_connection() -> None:
    """The thread closes it as soon as it is open."""
    begun, free = threading.Event(), threading.Event()

    class Slow(FakeBackend):
        def open(self) -> sqlite3.Connection:
            begun.set()
            free.wait(10)
            return super().open()

    database = Slow()
    committer = StoreWriter(database)
    starting = asyncio.ensure_future(committer.start())
    await asyncio.to_thread(begun.wait)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    free.set()
    await asyncio.to_thread(committer._thread.join)
    assert database.closed.is_set()


async def test_start_raises_what_opening_raises() -> None:
    """Closing the writer after that does nothing."""

    class Nowhere(FakeBackend):
        def open(self) -> sqlite3.Connection:
            raise sqlite3.OperationalError("no such place")

    committer = StoreWriter(Nowhere())
    with pytest.raises(sqlite3.OperationalError, match="no such place"):
        await committer.start()
    await committer.close()


def set_pragma(pragma: str) -> Callable[[sqlite3.Connection], None]:
    """An operation after which SQLite itself makes every write fail."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA {pragma}")

    return work


def insert_blob(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO numbers VALUES (zeroblob(100000))")


READ_ONLY, WRITABLE = "query_only = 1", "PRAGMA query_only = 0"


async def test_calls_wait_while_the_disk_fails() -> None:
    """No call returns until it works again; then all operations are committed, in order."""
    database = FakeBackend(cure=WRITABLE)
    async with running_writer(database) as committer:
        await committer.run(set_pragma(READ_ONLY))
        before = await start_jobs(committer, 3)
        await asyncio.to_thread(database.failing.wait)
        meanwhile = asyncio.create_task(committer.run(numbers))
        await asyncio.sleep(0)
        assert not any(task.done() for task in (*before, meanwhile))
        database.healed.set()
        assert await asyncio.gather(*before) == [0, 1, 2]
        assert await meanwhile == [0, 1, 2]


async def test_calls_wait_while_the_disk_is_full() -> None:
    """They are committed once there is space."""
    database = FakeBackend(cure="PRAGMA max_page_count = 1000")
    database.healed.set()
    async with running_writer(database) as committer:
        await committer.run(set_pragma("max_page_count = 2"))
        await committer.run(insert_blob)
        assert database.repaired == [StoreFault.FULL]


async def test_reports_that_the_disk_fails() -> None:
    """With the reason, for as long as it fails."""
    database = FakeBackend(cure=WRITABLE)
    async with running_writer(database) as committer:
        assert committer.status == StoreStatus()
        await committer.run(set_pragma(READ_ONLY))
        adding_one = asyncio.create_task(committer.run(insert_number(1)))
        await asyncio.sleep(0)
        await asyncio.to_thread(database.failing.wait)
        assert committer.status.reason is StoreFault.READ_ONLY
        assert committer.status.failing_since_ns is not None
        database.healed.set()
        await adding_one
        assert committer.status == StoreStatus()


async def test_logs_a_failure_and_its_end_once() -> None:
    """However often it is tried in between."""
    database = FakeBackend(cure=WRITABLE)
    with capture_logs() as logs:
        async with running_writer(database) as committer:
            await committer.run(set_pragma(READ_ONLY))
            adding_one = asyncio.create_task(committer.run(insert_number(1)))
            await asyncio.sleep(0)
            for _ in range(3):
                database.failing.clear()
                await asyncio.to_thread(database.failing.wait)
            database.healed.set()
            await adding_one
    assert [line["event"] for line in logs] == ["store.failing", "store.recovered"]
    assert logs[0]["reason"] == "read_only"
    assert logs[0]["error"] == "attempt to write a readonly database"
    assert logs[1]["failed_for_s"] > 0


async def test_closing_ends_the_retries() -> None:
    """All waiting callers are cancelled, and the connection is closed."""
    database = FakeBackend()
    committer = StoreWriter(database)
    await committer.start()
    await committer.run(set_pragma(READ_ONLY))
    tasks = await start_jobs(committer, 2)
    await asyncio.to_thread(database.failing.wait)
    tasks += await start_jobs(committer, 2)
    await committer.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 4
    assert database.closed.is_set()


async def test_files_are_verified_before_calls_return() -> None:
    """Right after each commit."""
    database = FakeBackend()
    async with running_writer(database) as committer:
        await committer.run(insert_number(1))
        assert database.verified_after[-1] == 1


async def test_files_are_verified_while_nothing_is_queued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Again and again, without a transaction; an error there is raised to the next caller."""
    looks = threading.Semaphore(0)

    class Watched(FakeBackend):
        def verify(self, connection: sqlite3.Connection) -> sqlite3.Connection:
            looks.release()
            if not self.healed.is_set():
                raise ValueError("odd")
            return connection

    monkeypatch.setattr("relay.store.writer.VERIFY_INTERVAL_S", 0.01)
    database = Watched()
    async with running_writer(database) as committer:
        for _ in range(3):
            await asyncio.to_thread(looks.acquire)
        assert database.commits == 0
        with pytest.raises(ValueError, match="odd"):
            await committer.run(insert_number(1))
        database.healed.set()
        assert await committer.run(insert_number(2)) == 2


async def test_a_failure_after_the_commit_does_not_repeat_the_commit() -> None:
    """Only the verification is tried again."""

    class Elsewhere(FakeBackend):
        def keep(self, connection: sqlite3.Connection) -> sqlite3.Connection:
            if not self.repaired:
                raise OSError(28, "No space left on device")
            return connection

    async with running_writer(Elsewhere()) as committer:
        await committer.run(insert_number(1))
        assert await committer.run(numbers) == [1]


async def test_a_store_that_is_corrupt_after_a_repair_is_an_error() -> None:
    """A second repair would not help."""
    database = FakeBackend()

    def read(_: sqlite3.Connection) -> None:
        raise Corrupt("a notification")

    async with running_writer(database) as committer:
        with pytest.raises(Corrupt):
            await committer.run(read)
        assert database.repaired == [StoreFault.CORRUPT]
        assert await committer.run(insert_number(1)) == 1


def test_the_retry_delays_grow() -> None:
    """From a tenth of a second to five seconds."""
    waits = [wait_s for wait_s, _ in zip(retry_delays_s(), range(9), strict=False)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
