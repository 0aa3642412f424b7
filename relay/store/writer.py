"""A writer thread that commits all queued operations in one transaction (group commit).

SQLite allows one writer at a time, and a synced commit costs the same for one operation as for
hundreds. So there is one connection in one thread, and whatever is queued while a commit is under
way goes into the next one. A caller resumes once its operation is on disk. While the disk fails
nobody gets an error: the operations stay queued, in order, and are tried again until the disk
works. The thread starts with `StoreWriter.start` and ends with `StoreWriter.close`.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic, time_ns
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog

from relay.store.faults import StoreFault, StoreStatus, classify_error, describe_error

log = structlog.get_logger()

CLOSE_TIMEOUT_S = 5
"""How long `StoreWriter.close` waits for a disk that hangs."""

VERIFY_INTERVAL_S = 5.0
"""How often the store's files are verified while no operation is queued."""

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]
"""What a caller runs in the writer thread, on the connection."""


class _Job(NamedTuple):
    """A queued operation."""

    operation: Operation[Any]
    done: asyncio.Future[Any]
    """Gets the result once it is committed."""
    is_synced: bool


class Backend(Protocol):
    """Where the connection comes from. All methods are called in the writer thread."""

    def open(self) -> sqlite3.Connection:
        """Return the first connection."""
        ...

    def verify(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """Check that committed data is still at the store's path; return the connection to use."""
        ...

    def repair(
        self, connection: sqlite3.Connection, fault: StoreFault, error: Exception
    ) -> sqlite3.Connection:
        """Do what can be done about a failure; return the connection to use."""
        ...

    def close(self, connection: sqlite3.Connection) -> None:
        """Close the connection and release the store."""
        ...


class StoreWriter:
    """Runs operations on a connection; each caller resumes when its operation is on disk.

    If one operation of a transaction fails, each is run once more, in a transaction of its own, and
    only the callers whose operations fail again get an error. So the state on disk is always one
    that was reported to some caller, or an older one.

    Failures of the disk are not errors: the operations wait, in order, and are tried again. So an
    operation may run more than once; only its last run is committed.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._connection: sqlite3.Connection
        self._jobs: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        """What each item holds goes into one transaction."""
        self._unsent: list[_Job] = []
        """Operations that go with the next one."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._pending: dict[asyncio.Future[Any], float] = {}
        """Each waiting caller's future, with the time of its call; the oldest first."""
        self._closing = threading.Event()
        self._status = StoreStatus()
        self._failing_since_s = 0.0

    @property
    def status(self) -> StoreStatus:
        """Whether the disk works. May be read in any thread."""
        return self._status

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs. Also true while it waits for the disk."""
        return self._thread.is_alive()

    @property
    def oldest_wait_s(self) -> float:
        """How long the oldest waiting call has waited; 0.0 if none waits."""
        oldest_s = next(iter(self._pending.values()), None)
        return 0.0 if oldest_s is None else monotonic() - oldest_s

    async def start(self) -> None:
        """Start the thread and wait until it has opened the connection.

        Raises what opening raises. If the caller is cancelled, the thread closes the connection as
        soon as it is open.
        """
        self._thread.start()
        try:
            await self._opened
        except asyncio.CancelledError:
            self._closing.set()
            self._jobs.put(None)
            raise

    async def run(self, operation: Operation[T]) -> T:
        """Run the operation in the next transaction; return its result once that is on disk.

        If the caller is cancelled it stops waiting, but the operation is committed all the same.
        """
        return await self.submit(operation)

    def submit(
        self, operation: Operation[T], *, is_synced: bool = True, is_urgent: bool = True
    ) -> asyncio.Future[T]:
        """Queue the operation for the next transaction; the future gets its result after that.

        A transaction in which no operation has ``is_synced`` is not synced to the disk: a power cut
        may undo it, while the death of the process cannot. An operation that is not urgent goes
        into one transaction with the one that is submitted next.
        """
        done: asyncio.Future[T] = self._loop.create_future()
        self._pending[done] = monotonic()
        done.add_done_callback(self._pending.pop)
        self._unsent.append(_Job(operation, done, is_synced))
        if is_urgent:
            self._jobs.put(self._unsent)
            self._unsent = []
        return done

    async def close(self) -> None:
        """Run what is queued, then close the connection.

        A disk that fails is tried once more; a disk that hangs is waited for no longer than
        `CLOSE_TIMEOUT_S`. Callers whose operations were not committed by then are cancelled.
        """
        self._closing.set()
        if self._unsent:
            self._jobs.put(self._unsent)
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
            pass  # `close` cancels the callers that still wait
        finally:
            self._backend.close(self._connection)

    def _next_jobs(self) -> list[_Job] | None:
        """Return all queued jobs; an empty list after a while without any; None to stop."""
        try:
            found = [self._jobs.get(timeout=VERIFY_INTERVAL_S)]
        except queue.Empty:
            return []
        found += [self._jobs.get_nowait() for _ in range(self._jobs.qsize())]
        jobs = [job for item in found if item is not None for job in item]
        if not jobs:
            return None
        if None in found:  # stop only after these have run
            self._jobs.put(None)
        return jobs

    def _process(self, jobs: list[_Job]) -> "list[_JobResult]":
        """Return the result or the error of each job. The jobs that succeeded are on disk then."""
        try:
            results = self._run_with_retry(partial(_transact, jobs)) if jobs else []
        except _ClosedWhileFailing:
            raise
        except Exception as error:
            if len(jobs) > 1 and classify_error(error) is None:  # one of them is at fault
                return [result for job in jobs for result in self._process([job])]
            return [(job.done, None, error) for job in jobs]
        try:
            self._run_with_retry(self._verify)
        except _ClosedWhileFailing:
            raise
        except Exception as error:
            return [(job.done, None, error) for job in jobs]
        return [(job.done, result, None) for job, result in zip(jobs, results, strict=True)]

    def _verify(self, connection: sqlite3.Connection) -> None:
        self._connection = self._backend.verify(connection)

    def _run_with_retry(self, step: Operation[T]) -> T:
        """Repeat the step until the disk works; raise `_ClosedWhileFailing` when closing."""
        failed: tuple[StoreFault, Exception] | None = None
        is_last_try = False
        for delay_s in retry_delays_s():
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
            is_last_try = failed[0] is not StoreFault.CORRUPT and self._closing.wait(delay_s)
        raise AssertionError("retry_delays_s never ends")

    def _record_failure(
        self, error: Exception, previous: tuple[StoreFault, Exception] | None
    ) -> StoreFault:
        """Return what is wrong with the disk; raise the error if it has another cause."""
        fault = classify_error(error)
        if fault is None or (previous is not None and fault is previous[0] is StoreFault.CORRUPT):
            raise error  # a store that is corrupt after it was rebuilt will not get better
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
        with suppress(RuntimeError):  # the loop has ended, and with it every caller
            self._loop.call_soon_threadsafe(_resolve_futures, results)


_JobResult = tuple[asyncio.Future[Any], Any, BaseException | None]


class _ClosedWhileFailing(Exception):
    """The disk still fails when it is time to stop."""


def retry_delays_s() -> Iterator[float]:
    """Yield how long to wait before each further try: from 0.1 s, doubling, up to 5 s."""
    delay_s = 0.1
    while True:
        yield delay_s
        delay_s = min(2 * delay_s, 5.0)


def _transact(jobs: Sequence[_Job], connection: sqlite3.Connection) -> list[Any]:
    """Run the operations in one transaction, synced unless none of them needs it."""
    if any(job.is_synced for job in jobs):
        return _commit(jobs, connection)
    connection.execute("PRAGMA synchronous = NORMAL")  # syncs a log at a checkpoint, not a commit
    try:
        return _commit(jobs, connection)
    finally:
        connection.execute("PRAGMA synchronous = FULL")


def _commit(jobs: Sequence[_Job], connection: sqlite3.Connection) -> list[Any]:
    try:
        connection.execute("BEGIN")
        results = [job.operation(connection) for job in jobs]
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a failing disk may have ended the transaction already
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
