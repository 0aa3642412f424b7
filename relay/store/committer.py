"""One SQLite connection in one thread, with all that is waiting in one transaction."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

CLOSE_S = 5

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work[Any]
    done: asyncio.Future[Any]


class Committer:
    """Runs work on a connection and says so when it is on disk.

    A synced commit costs the same for one piece of work as for hundreds, so whatever came in while
    one was being made goes into the next. If any of it fails, none of it is committed and each
    caller gets the error: the state on disk is always one that somebody was told of, or an older.
    """

    def __init__(self, open_connection: Callable[[], sqlite3.Connection]) -> None:
        self._open = open_connection
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._opened: asyncio.Future[None] = self._loop.create_future()

    async def start(self) -> None:
        """Open the connection in its thread. Raises what opening it raises."""
        self._thread.start()
        await self._opened

    async def run(self, work: Work[T]) -> T:
        """Do the work in the next transaction; return its result once that is committed.

        A caller that is cancelled stops waiting; the work is done all the same.
        """
        done: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, done))
        return await done

    async def close(self) -> None:
        """Do what was asked for so far, then close the connection.

        A disk that hangs is not waited for longer than `CLOSE_S`: what it holds is not committed.
        """
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, CLOSE_S)

    def _run(self) -> None:
        try:
            connection = self._open()
        except BaseException as error:
            self._tell([(self._opened, None, error)])
            return
        self._tell([(self._opened, None, None)])
        try:
            while jobs := self._waiting():
                self._tell(_transact(connection, jobs))
        finally:
            connection.close()

    def _waiting(self) -> list[_Job]:
        """All jobs that wait, at least one; none when it is time to stop."""
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if self._jobs.empty():
                return jobs
            job = self._jobs.get()
        if jobs:
            self._jobs.put(None)
        return jobs

    def _tell(self, answers: list["_Answer"]) -> None:
        self._loop.call_soon_threadsafe(_resolve, answers)


_Answer = tuple[asyncio.Future[Any], Any, BaseException | None]


def _transact(connection: sqlite3.Connection, jobs: list[_Job]) -> list[_Answer]:
    try:
        connection.execute("BEGIN")
        results = [job.work(connection) for job in jobs]
        connection.execute("COMMIT")
    except Exception as error:
        with suppress(sqlite3.Error):  # a disk that fails may have ended the transaction itself
            connection.execute("ROLLBACK")
        return [(job.done, None, error) for job in jobs]
    return [(job.done, result, None) for job, result in zip(jobs, results, strict=True)]


def _resolve(answers: list[_Answer]) -> None:
    for future, result, error in answers:
        if future.cancelled():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
