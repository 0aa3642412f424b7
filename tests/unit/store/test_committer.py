"""One transaction for all that waits."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from relay.store.committer import Committer


class Database:
    """An empty table in memory, and what was done to it."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.execute("CREATE TABLE numbers (number INTEGER)")
        connection.set_trace_callback(self.statements.append)
        return connection

    @property
    def commits(self) -> int:
        return self.statements.count("COMMIT")


@asynccontextmanager
async def committing(database: Database) -> AsyncIterator[Committer]:
    committer = Committer(database.open)
    await committer.start()
    try:
        yield committer
    finally:
        await committer.close()


def adding(number: int) -> Callable[[sqlite3.Connection], int]:
    def add(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return add


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT number FROM numbers")]


@asynccontextmanager
async def held_up(committer: Committer) -> AsyncIterator[None]:
    """While the committer is at work, so that what is asked for meanwhile waits."""
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


async def started(committer: Committer, count: int) -> list[asyncio.Task[int]]:
    """That many pieces of work, all asked for."""
    tasks = [asyncio.create_task(committer.run(adding(number))) for number in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_many_calls_go_into_one_transaction() -> None:
    """All that came while one was under way; each gets its own result, in its order."""
    database = Database()
    async with committing(database) as committer:
        async with held_up(committer):
            tasks = await started(committer, 200)
        assert await asyncio.gather(*tasks) == list(range(200))
        assert database.commits == 2
        assert await committer.run(numbers) == list(range(200))


async def test_it_is_committed_when_the_call_returns() -> None:
    """Not a moment later."""
    database = Database()
    async with committing(database) as committer:
        await committer.run(adding(1))
        assert database.statements[-1] == "COMMIT"


async def test_one_failure_fails_its_whole_batch() -> None:
    """Everybody in it gets the error, nothing of it is committed, and the next works."""
    database = Database()

    def fail(_: sqlite3.Connection) -> int:
        raise ValueError("broken")

    async with committing(database) as committer:
        async with held_up(committer):
            tasks = await started(committer, 2)
            tasks.append(asyncio.create_task(committer.run(fail)))
            tasks.append(asyncio.create_task(committer.run(adding(9))))
            await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(result) for result in results] == ["broken"] * 4
        assert await committer.run(numbers) == []
        assert await committer.run(adding(1)) == 1
        assert await committer.run(numbers) == [1]


async def test_a_caller_that_is_cancelled_harms_nobody() -> None:
    """The work is done all the same, and the others get their results."""
    async with committing(Database()) as committer:
        async with held_up(committer):
            tasks = await started(committer, 3)
            tasks[1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [results[0], results[2]] == [0, 2]
        assert isinstance(results[1], asyncio.CancelledError)
        assert await committer.run(numbers) == [0, 1, 2]


async def test_closing_does_what_was_asked_for() -> None:
    """Then it closes the connection and ends its thread."""
    database = Database()
    committer = Committer(database.open)
    await committer.start()
    async with held_up(committer):
        tasks = await started(committer, 3)
        closing = asyncio.ensure_future(committer.close())
        await asyncio.sleep(0)
    await closing
    assert [await task for task in tasks] == [0, 1, 2]
    assert "store" not in [thread.name for thread in threading.enumerate()]


async def test_what_opening_raises_is_raised() -> None:
    """To who starts it; closing it then is no harm."""

    def refuse() -> sqlite3.Connection:
        raise sqlite3.OperationalError("no such place")

    committer = Committer(refuse)
    with pytest.raises(sqlite3.OperationalError, match="no such place"):
        await committer.start()
    await committer.close()
