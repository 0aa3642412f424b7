"""Reading the configuration again while relay runs: all that can fail first, then one swap."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from time import time_ns
from typing import Protocol

import structlog

from relay.config import Config
from relay.errors import RelayError
from relay.ops.vitals import Loading
from relay.plan import Plan, check_fixed
from relay.reading import Reader
from relay.works import Works

log = structlog.get_logger()

Changes = tuple[str, ...]
"""What a reload changed, in words; empty for nothing."""


class ReloadFailed(RelayError):
    """There was no reload, and nothing has changed."""


@dataclass(slots=True)
class Source:
    """Where the configuration comes from."""

    read: Callable[[], Config]
    """Reads it again; raises `ConfigError`. May wait for a disk."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is to be read again."""

    def on_signal(self) -> None:
        """Read it again on SIGHUP."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.asked.set)


class Onlooker(Protocol):
    """Who is told that a reload is under way."""

    def reloading(self) -> None:
        """It begins."""
        ...

    def reloaded(self) -> None:
        """It is over, whatever came of it."""
        ...


Prepare = Callable[[Config], Awaitable[Plan]]
"""Does all that can fail. Raises `RelayError`; then nothing has changed."""


class Reloader:
    """Reloads, one time after the other; whoever asks while one is under way gets the next."""

    def __init__(
        self,
        source: Source | None,
        works: Works,
        reader: Reader,
        prepare: Prepare,
        onlooker: Onlooker,
    ) -> None:
        """``source`` is None where there is no file: nothing can be read again."""
        self._source = source
        self._reader = reader
        self._works = works
        self._prepare = prepare
        self._onlooker = onlooker
        self._waiting: list[asyncio.Future[Changes]] = []
        self._answering: list[asyncio.Future[Changes]] = []
        self._ended = False

    async def reload(self) -> Changes:
        """Reload as soon as it can be. Raises `RelayError`; then nothing has changed."""
        if self._source is None:
            raise ReloadFailed("relay runs without a configuration file: there is none to read")
        if self._ended:
            raise _stopping()
        done: asyncio.Future[Changes] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._source.asked.set()
        return await done

    async def run(self) -> None:
        """Do what is asked for, until cancelled."""
        if self._source is None:
            return
        try:
            while True:
                await self._source.asked.wait()
                self._source.asked.clear()
                self._answering, self._waiting = self._waiting, []
                await self._reload(self._source)
        finally:
            self.end()

    def end(self) -> None:
        """Reload no more: whoever waits for it is told so."""
        self._ended = True
        self._answering += self._waiting
        self._waiting = []
        self._refuse(_stopping())

    async def _reload(self, source: Source) -> None:
        self._onlooker.reloading()
        try:
            config = await self._reader.read(source.read)
            before = self._works.config
            check_fixed(before, config)
            plan = await self._prepare(config)
        except RelayError as error:
            self._fail(error)
        except Exception as error:
            log.exception("config.reload_broke")  # nothing has changed, so all goes on
            kind = type(error).__name__  # its words can hold what must not be shown
            self._fail(ReloadFailed(f"an error in relay itself: {kind}; relay's log has all of it"))
        else:
            closing = self._works.adopt(plan)
            self._succeed(changes(before, plan))
            await _close(closing)
        finally:
            self._onlooker.reloaded()

    def _succeed(self, changed: Changes) -> None:
        before = self._works.loading
        self._works.loading = Loading(time_ns(), None, before.reloads + 1, before.failures)
        log.info("config.reloaded", changes=changed)
        for asked in self._answering:
            if not asked.done():
                asked.set_result(changed)

    def _fail(self, error: RelayError) -> None:
        before = self._works.loading
        self._works.loading = replace(before, failed=str(error), failures=before.failures + 1)
        for line in str(error).splitlines():
            log.error("config.problem", problem=line)
        log.error("config.reload_failed", in_force="the configuration from before")
        self._refuse(error)

    def _refuse(self, error: RelayError) -> None:
        for asked in self._answering:
            if not asked.done():
                asked.set_exception(error)


def _stopping() -> ReloadFailed:
    return ReloadFailed("relay is stopping: its next start reads the configuration")


async def _close(closing: AsyncExitStack) -> None:
    """What is no more in use and cannot be closed is not worth an end."""
    try:
        await closing.aclose()
    except Exception:
        log.exception("config.not_closed")


def changes(before: Config, plan: Plan) -> Changes:
    """What a plan changes."""
    after = plan.config
    reopened = {name for name in plan.opened if name in before.destinations}
    rest = ("ingest", "reconcile", "store", "admin", "heartbeat", "routes")
    return (
        *_differences("engine", before.engines, after.engines),
        *_differences("destination", before.destinations, after.destinations, reopened),
        *(f"{name} changed" for name in rest if getattr(before, name) != getattr(after, name)),
    )


def _differences(
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
