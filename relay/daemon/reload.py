"""Reloads the configuration of a running daemon, on SIGHUP or by the admin API.

A reload reads the configuration again, prepares a new topology from it and lets the supervisor
apply it. Everything that can fail happens before the swap: a configuration with an error, a
certificate that cannot be read or a port that is taken leaves relay exactly as it was. The swap
itself neither fails nor waits. Reloads run one after the other: a request during a reload is
answered by the next one. The controller ends when relay stops; requests that still wait then fail.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack
from time import time_ns
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from relay.admin.health import ReloadStatus
from relay.config import Config
from relay.core.errors import RelayError
from relay.core.tasks import run_in_thread
from relay.daemon.supervisor import Applied, Supervisor
from relay.daemon.topology import Topology, check_reloadable

log = structlog.get_logger()

READ_TIMEOUT_S = 30.0
"""How long a read may take, including the time it waits for the one before it."""

T = TypeVar("T")

Changes = tuple[str, ...]
"""One text for each change that a reload made; empty if it changed nothing."""

Prepare = Callable[[Config], Awaitable[Topology]]
"""Prepares the topology of a configuration. Raises `RelayError`; then nothing has changed."""


class ReloadFailed(RelayError):
    """There was no reload, and nothing has changed."""


class ReadTimeout(RelayError):
    """A read took too long."""


class ConfigSource(msgspec.Struct):
    """Where the configuration comes from, and whether it should be read again."""

    read: Callable[[], Config]
    """Reads it again; raises `ConfigError`. May wait for a disk."""
    requested: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    """Set when a reload is requested."""

    def handle_sighup(self) -> None:
        """Request a reload on every SIGHUP from now on."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.requested.set)


class FileReader:
    """Reads in a thread, one read at a time, because a disk may hang."""

    def __init__(self) -> None:
        self._latest: asyncio.Future[Any] | None = None

    async def read(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, or raise what it raises.

        Raises `ReadTimeout` after `READ_TIMEOUT_S`. ``work`` goes on in its thread then, and its
        result is dropped.
        """
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                if self._latest is not None:
                    await asyncio.wait({self._latest})
                self._latest = result = run_in_thread(work, "file reader")
                return await asyncio.shield(result)
        except TimeoutError:
            raise ReadTimeout(
                f"the configuration, and the files that it names, took more than "
                f"{READ_TIMEOUT_S:g} s to read"
            ) from None


class ReloadObserver(Protocol):
    """Is notified when a reload begins and ends."""

    def reload_started(self) -> None:
        """A reload begins."""
        ...

    def reload_finished(self) -> None:
        """The reload is over, whether it succeeded or not."""
        ...


class ReloadController:
    """Carries out reloads, one after the other."""

    def __init__(
        self,
        source: ConfigSource | None,
        supervisor: Supervisor,
        reader: FileReader,
        prepare: Prepare,
        observer: ReloadObserver,
    ) -> None:
        """``source`` is None if there is no file: then every reload fails."""
        self._source = source
        self._supervisor = supervisor
        self._reader = reader
        self._prepare = prepare
        self._observer = observer
        self._waiting: list[asyncio.Future[Changes]] = []
        """The requests that the next reload answers."""
        self._current: list[asyncio.Future[Changes]] = []
        """The requests that the reload under way answers."""
        self._closed = False

    async def reload(self) -> Changes:
        """Request a reload and wait for it. Raises `RelayError`; then nothing has changed."""
        if self._source is None:
            raise ReloadFailed("relay runs without a configuration file: there is none to read")
        if self._closed:
            raise _stopping_error()
        result: asyncio.Future[Changes] = asyncio.get_running_loop().create_future()
        self._waiting.append(result)
        self._source.requested.set()
        return await result

    async def run(self) -> None:
        """Carry out reloads as they are requested, until cancelled."""
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
        """Stop accepting requests, and fail those that still wait."""
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
            topology = await self._prepare(config)
        except RelayError as error:
            self._fail(error)
        except Exception as error:
            log.exception("config.reload_broke")  # nothing has changed, so relay can go on
            kind = type(error).__name__  # its message may contain secrets
            self._fail(ReloadFailed(f"an error in relay itself: {kind}; relay's log has all of it"))
        else:
            applied = self._supervisor.apply(topology)
            self._succeed((*describe_changes(before, topology), *_describe_unwatched(applied)))
            await _close_obsolete(applied.obsolete)
        finally:
            self._observer.reload_finished()

    def _succeed(self, changes: Changes) -> None:
        before = self._supervisor.reload_status
        self._supervisor.reload_status = ReloadStatus(
            time_ns(), None, before.successes + 1, before.failures
        )
        log.info("config.reloaded", changes=changes)
        for result in self._current:
            if not result.done():
                result.set_result(changes)

    def _fail(self, error: RelayError) -> None:
        before = self._supervisor.reload_status
        self._supervisor.reload_status = msgspec.structs.replace(
            before, last_error=str(error), failures=before.failures + 1
        )
        for line in str(error).splitlines():
            log.error("config.problem", problem=line)
        log.error("config.reload_failed", in_force="the configuration from before")
        self._reject(error)

    def _reject(self, error: RelayError) -> None:
        for result in self._current:
            if not result.done():
                result.set_exception(error)


def _stopping_error() -> ReloadFailed:
    return ReloadFailed("relay is stopping: its next start reads the configuration")


def _describe_unwatched(applied: Applied) -> Iterator[str]:
    if applied.unwatched:
        yield f"open incidents that are no longer watched: {applied.unwatched}"


async def _close_obsolete(resources: AsyncExitStack) -> None:
    """Close what the reload has replaced. The reload is done, so a failure is only logged."""
    try:
        await resources.aclose()
    except Exception:
        log.exception("config.not_closed")


def describe_changes(before: Config, topology: Topology) -> Changes:
    """Return what a topology changes, compared with the configuration before it."""
    after = topology.config
    reopened = {name for name in topology.new_clients if name in before.destinations}
    sections = (
        *("ingest", "reconcile", "store", "admin", "heartbeat", "log", "time_zone"),
        *("labels", "mute_time_intervals", "routes"),
    )
    return (
        *_compare_named("engine", before.engines, after.engines),
        *_compare_named("destination", before.destinations, after.destinations, reopened),
        *(f"{name} changed" for name in sections if getattr(before, name) != getattr(after, name)),
    )


def _compare_named(
    kind: str,
    before: Mapping[str, object],
    after: Mapping[str, object],
    changed: Collection[str] = (),
) -> Iterator[str]:
    """Compare by name. Names in ``changed`` count as changed even if their configuration is not."""
    for name in {**before, **after}:
        if name not in after:
            yield f"{kind} {name} removed"
        elif name not in before:
            yield f"{kind} {name} added"
        elif before[name] != after[name] or name in changed:
            yield f"{kind} {name} changed"
