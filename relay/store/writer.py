"""One SQLite connection in one thread, with all that is waiting in one transaction."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from time import monotonic, time_ns
from typing import Any, Protocol, TypeVar

import structlog

from relay.store.faults import StoreFault, StoreStatus, classify_error, describe_error

log = structlog.get_logger()

CLOSE_TIMEOUT_S = 5

VERIFY_INTERVAL_S = 5.0
"""How often the store's place is looked at while there is nothing to do."""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class Backend(Protocol):
    """Where the connection leads; everything is called in the store's thread."""

    def open(self) -> sqlite3.Connection:
        """The first connection."""
        ...

    def verify(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Make sure that what was committed will be found; returns the connection to go on with."""
        ...

    def repair(
        self, connection: sqlite3.Connection, fault: StoreFault, error: Exception
    ) -> sqlite3.Connection:
        """Do what can be done about a failure; returns the connection to go on with."""
        ...

    def close(self, connection: sqlite3.Connection) -> None:
        """The end."""
        ...


class StoreWriter:
    """Runs work on a connection and says so when it is on disk.

    A synced commit costs the same for one piece of work as for hundreds, so whatever came in while
    one was being made goes into the next. If any of it fails, none of it is committed and each
    caller gets the error: the state on disk is always one that somebody was told of, or an older.

    A disk that fails is no error: what was asked for waits, in its order, and is tried again until
    the disk does its part. So work may be done more than once, and only the last time counts.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._connection: sqlite3.Connection
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._pending: dict[asyncio.Future[Any], float] = {}
        """With when each was asked, the oldest first."""
        self._closing = threading.Event()
        self._status = StoreStatus()
        self._failing_since_s = 0.0

    @property
    def status(self) -> StoreStatus:
        """Whether the disk does its part; may be asked in any thread."""
        return self._status

    @property
    def is_alive(self) -> bool:
        """Whether the thread is there, whatever it waits for."""
        return self._thread.is_alive()

    @property
    def oldest_wait_s(self) -> float:
        """How long the oldest question has waited for its answer; 0.0 where there is none."""
        oldest_s = next(iter(self._pending.values()), None)
        return 0.0 if oldest_s is None else monotonic() - oldest_s

    async def start(self) -> None:
        """Open the connection in its thread. Raises what opening it raises.

        Where nobody waits for it any more, it is closed once it is open.
        """
        self._thread.start()
        try:
            await self._opened
        except asyncio.CancelledError:
            self._closing.set()
            self._jobs.put(None)
            raise

    async def run(self, work: Work[T]) -> T:
        """Do the work in the next transaction; return its result once that is committed.

        A caller that is cancelled stops waiting; the work is done all the same.
        """
        done: asyncio.Future[T] = self._loop.create_future()
        self._pending[done] = monotonic()
        self._jobs.put((work, done))
        try:
            return await done
        finally:
            del self._pending[done]

    async def close(self) -> None:
        """Do what was asked for so far, then close the connection.

        A disk that fails is tried once more, one that hangs is waited for no longer than `CLOSE_S`:
        what could not be committed by then is cancelled.
        """
        self._closing.set()
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, CLOSE_TIMEOUT_S)
        for future in tuple(self._pending):
            future.cancel()

    def _run(self) -> None:
        try:
            self._connection = self._backend.open()
        except BaseException as error:
            self._resolve_in_loop([(self._opened, None, error)])
            return
        self._resolve_in_loop([(self._opened, None, None)])
        try:
            while (jobs := self._next_jobs()) is not None:
                self._resolve_in_loop(self._process(jobs))
        except _ClosedWhileFailing:
            pass  # whoever waits is told by `close`
        finally:
            self._backend.close(self._connection)

    def _next_jobs(self) -> "list[_Job] | None":
        """All jobs that wait, none after a while without any; None when it is time to stop."""
        try:
            found = [self._jobs.get(timeout=VERIFY_INTERVAL_S)]
        except queue.Empty:
            return []
        found += [self._jobs.get_nowait() for _ in range(self._jobs.qsize())]
        jobs = [job for job in found if job is not None]
        if not jobs:
            return None
        if len(jobs) < len(found):  # what was asked for so far is done before it stops
            self._jobs.put(None)
        return jobs

    def _process(self, jobs: "list[_Job]") -> "list[_JobResult]":
        """What each gets: its result once all are on disk, or the error of any of them."""
        try:
            results = self._run_with_retry(partial(_transact, jobs)) if jobs else []
            self._run_with_retry(self._verify)
        except _ClosedWhileFailing:
            raise
        except Exception as error:
            return [(done, None, error) for _, done in jobs]
        return [(done, result, None) for (_, done), result in zip(jobs, results, strict=True)]

    def _verify(self, connection: sqlite3.Connection) -> None:
        self._connection = self._backend.verify(connection)

    def _run_with_retry(self, step: Work[T]) -> T:
        """Do it, as often as the disk makes that necessary; `_ClosedWhileFailing` if it is time to stop."""
        failed: tuple[StoreFault, Exception] | None = None
        is_last_try = False
        for wait_s in retry_delays_s():
            try:
                if failed is not None:
                    self._connection = self._backend.repair(self._connection, *failed)
                result = step(self._connection)
            except Exception as error:
                failed = (self._record_failure(error, failed), error)
            else:
                self._record_success()
                return result
            if is_last_try:
                raise _ClosedWhileFailing from failed[1]
            is_last_try = failed[0] is not StoreFault.CORRUPT and self._closing.wait(wait_s)
        raise AssertionError("there is always another wait")

    def _record_failure(
        self, error: Exception, previous: tuple[StoreFault, Exception] | None
    ) -> StoreFault:
        """What is wrong with the disk; raises the error if that is not it."""
        fault = classify_error(error)
        if fault is None or (previous is not None and fault is previous[0] is StoreFault.CORRUPT):
            raise error  # a store that was begun anew and is broken again will not get better
        if self._status.reason is not fault:
            log.error("store.failing", reason=fault.value, error=describe_error(error))
        if self._status.failing_since_ns is None:
            self._failing_since_s = monotonic()
        self._status = StoreStatus(self._status.failing_since_ns or time_ns(), fault)
        return fault

    def _record_success(self) -> None:
        if self._status.reason is not None:
            self._status = StoreStatus()
            log.warning(
                "store.recovered", failed_for_s=round(monotonic() - self._failing_since_s, 1)
            )

    def _resolve_in_loop(self, results: "list[_JobResult]") -> None:
        with suppress(RuntimeError):  # a loop that has ended has nobody who waits
            self._loop.call_soon_threadsafe(_resolve_futures, results)


_Job = tuple[Work[Any], asyncio.Future[Any]]
_JobResult = tuple[asyncio.Future[Any], Any, BaseException | None]


class _ClosedWhileFailing(Exception):
    """The disk fails and it is time to stop."""


def retry_delays_s() -> Iterator[float]:
    """How long to wait before each further try: from 0.1 s, doubling, to 5 s."""
    delay_s = 0.1
    while True:
        yield delay_s
        delay_s = min(2 * delay_s, 5.0)


def _transact(jobs: list[_Job], connection: sqlite3.Connection) -> list[Any]:
    try:
        connection.execute("BEGIN")
        results = [work(connection) for work, _ in jobs]
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a disk that fails may have ended the transaction itself
            connection.execute("ROLLBACK")
        raise
    return results


def _resolve_futures(results: list[_JobResult]) -> None:
    for future, result, error in results:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
