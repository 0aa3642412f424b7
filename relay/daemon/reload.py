"""Reading the configuration again while relay runs: all that can fail first, then one swap."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from time import time_ns
from typing import Any, Protocol, TypeVar

import structlog

from relay.admin.status import ReloadStatus
from relay.config import Config
from relay.core.errors import RelayError
from relay.daemon.supervisor import Supervisor
from relay.daemon.topology import Topology, check_reloadable

log = structlog.get_logger()

READ_TIMEOUT_S = 30.0
"""How long it may take."""

T = TypeVar("T")


class ReadTimeout(RelayError):
    """It took too long."""


class FileReader:
    """Reads one time after the other, in a thread of its own each time.

    A disk that hangs holds up neither the loop nor relay's end, takes no thread from those that
    others need, and has one of them at most.
    """

    def __init__(self) -> None:
        self._latest: asyncio.Future[Any] | None = None

    async def read(self, work: Callable[[], T]) -> T:
        """What it returns or raises. Raises `ReadTimeout` after `READ_TIMEOUT_S`."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                if self._latest is not None:
                    await asyncio.wait({self._latest})
                self._latest = done = _start_thread(work)
                return await asyncio.shield(done)
        except TimeoutError:
            words = f"the configuration, and the files that it names, took more than {READ_TIMEOUT_S:g} s"
            raise ReadTimeout(words) from None


def _start_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Begin it; returns what has its outcome."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    done.add_done_callback(_retrieve_exception)

    def tell(outcome: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(outcome)

    def run() -> None:
        try:
            found = work()
        except Exception as error:
            tell(partial(done.set_exception, error))
        else:
            tell(partial(done.set_result, found))

    threading.Thread(target=run, name="reading", daemon=True).start()
    return done


def _retrieve_exception(done: asyncio.Future[Any]) -> None:
    """What comes after nobody waits for it any more is no surprise."""
    if not done.cancelled():
        done.exception()


Changes = tuple[str, ...]
"""What a reload changed, in words; empty for nothing."""


class ReloadFailed(RelayError):
    """There was no reload, and nothing has changed."""


@dataclass(slots=True)
class ConfigSource:
    """Where the configuration comes from."""

    read: Callable[[], Config]
    """Reads it again; raises `ConfigError`. May wait for a disk."""
    requested: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is to be read again."""

    def handle_sighup(self) -> None:
        """Read it again on SIGHUP."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.requested.set)


class ReloadObserver(Protocol):
    """Who is told that a reload is under way."""

    def reload_started(self) -> None:
        """It begins."""
        ...

    def reload_finished(self) -> None:
        """It is over, whatever came of it."""
        ...


Prepare = Callable[[Config], Awaitable[Topology]]
"""Does all that can fail. Raises `RelayError`; then nothing has changed."""


class ReloadController:
    """Reloads, one time after the other; whoever asks while one is under way gets the next."""

    def __init__(
        self,
        source: ConfigSource | None,
        works: Supervisor,
        reader: FileReader,
        prepare: Prepare,
        onlooker: ReloadObserver,
    ) -> None:
        """``source`` is None where there is no file: nothing can be read again."""
        self._source = source
        self._reader = reader
        self._supervisor = works
        self._prepare = prepare
        self._observer = onlooker
        self._waiting: list[asyncio.Future[Changes]] = []
        self._current: list[asyncio.Future[Changes]] = []
        self._closed = False

    async def reload(self) -> Changes:
        """Reload as soon as it can be. Raises `RelayError`; then nothing has changed."""
        if self._source is None:
            raise ReloadFailed("relay runs without a configuration file: there is none to read")
        if self._closed:
            raise _stopping_error()
        done: asyncio.Future[Changes] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._source.requested.set()
        return await done

    async def run(self) -> None:
        """Do what is asked for, until cancelled."""
        if self._source is None:
            return
        try:
            while True:
                await self._source.requested.wait()
                self._source.requested.clear()
                self._current, self._waiting = self._waiting, []
                await self._reload(self._source)
        finally:
            self.close()

    def close(self) -> None:
        """Reload no more: whoever waits for it is told so."""
        self._closed = True
        self._current += self._waiting
        self._waiting = []
        self._reject(_stopping_error())

    async def _reload(self, source: ConfigSource) -> None:
        self._observer.reload_started()
        try:
            config = await self._reader.read(source.read)
            before = self._supervisor.config
            check_reloadable(before, config)
            plan = await self._prepare(config)
        except RelayError as error:
            self._fail(error)
        except Exception as error:
            log.exception("config.reload_broke")  # nothing has changed, so all goes on
            kind = type(error).__name__  # its words can hold what must not be shown
            self._fail(ReloadFailed(f"an error in relay itself: {kind}; relay's log has all of it"))
        else:
            closing = self._supervisor.apply(plan)
            self._succeed(describe_changes(before, plan))
            await _close_resources(closing)
        finally:
            self._observer.reload_finished()

    def _succeed(self, changed: Changes) -> None:
        before = self._supervisor.reload_status
        self._supervisor.reload_status = ReloadStatus(
            time_ns(), None, before.successes + 1, before.failures
        )
        log.info("config.reloaded", changes=changed)
        for asked in self._current:
            if not asked.done():
                asked.set_result(changed)

    def _fail(self, error: RelayError) -> None:
        before = self._supervisor.reload_status
        self._supervisor.reload_status = replace(
            before, last_error=str(error), failures=before.failures + 1
        )
        for line in str(error).splitlines():
            log.error("config.problem", problem=line)
        log.error("config.reload_failed", in_force="the configuration from before")
        self._reject(error)

    def _reject(self, error: RelayError) -> None:
        for asked in self._current:
            if not asked.done():
                asked.set_exception(error)


def _stopping_error() -> ReloadFailed:
    return ReloadFailed("relay is stopping: its next start reads the configuration")


async def _close_resources(closing: AsyncExitStack) -> None:
    """What is no more in use and cannot be closed is not worth an end."""
    try:
        await closing.aclose()
    except Exception:
        log.exception("config.not_closed")


def describe_changes(before: Config, plan: Topology) -> Changes:
    """What a plan changes."""
    after = plan.config
    reopened = {name for name in plan.new_clients if name in before.destinations}
    rest = ("ingest", "reconcile", "store", "admin", "heartbeat", "routes")
    return (
        *_compare_named("engine", before.engines, after.engines),
        *_compare_named("destination", before.destinations, after.destinations, reopened),
        *(f"{name} changed" for name in rest if getattr(before, name) != getattr(after, name)),
    )


def _compare_named(
    what: str,
    before: Mapping[str, object],
    after: Mapping[str, object],
    besides: Collection[str] = (),
) -> Iterator[str]:
    for name in {**before, **after}:
        if name not in after:
            yield f"{what} {name} removed"
        elif name not in before:
            yield f"{what} {name} added"
        elif before[name] != after[name] or name in besides:
            yield f"{what} {name} changed"
