"""Reads one engine's stream, for ever: connects, watches, reconnects."""

import asyncio
import errno
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from time import time_ns
from typing import Protocol, TypeVar

import aiohttp
import structlog
import tenacity

from relay.core.event import Event, Why, happening
from relay.core.framing import RECORD_LIMIT, Framer
from relay.ingest.docker.buffer import Connection, Dropped, Inbox, Opened, read
from relay.ingest.docker.cursor import CLOCK_DOUBT_NS
from relay.ingest.docker.engine.client import (
    FAILURES,
    EngineClient,
    EngineUnavailable,
    Greeting,
    Now,
    words,
)
from relay.ingest.docker.engine.parser import Malformed
from relay.ingest.docker.reconciler import Reconciler

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """The listener's clock, and its times in seconds."""

    now: Now = time_ns
    backoff_first_s: float = 0.1
    backoff_most_s: float = 2
    """A try costs next to nothing, and what died meanwhile is to be told at once."""
    stable_after_s: float = 5
    """The backoff starts over only after a connection that lived so long; proxies cut idle ones
    after ten seconds and more."""
    ping_every_s: float = 15
    """Socket proxies cut idle streams after 4 to 10 minutes; a silent half-open one is found
    within two of these."""
    answer_s: float = 10
    """How long an engine may take to answer anything but the stream."""


class Progress(Protocol):
    """What the listener asks of the one who takes the events in."""

    def since_ns(self, engine_now_ns: int) -> int:
        """From when on to ask the engine, which has just said what time it is."""
        ...

    @property
    def anchored(self) -> bool:
        """Whether the engine's history has to hold an event that was taken in."""
        ...

    @property
    def position_ns(self) -> int:
        """When the last event happened that was taken in, by the engine's time."""
        ...

    def remembers(self, event: Event) -> bool:
        """Whether the event was taken in."""
        ...


Connect = Callable[[], AbstractAsyncContextManager[EngineClient]]


class Listener:
    """The reader of one engine. It puts what it reads into the inbox and waits for nobody."""

    def __init__(
        self,
        engine: str,
        host: str | None,
        connect: Connect,
        inbox: Inbox,
        progress: Progress,
        reconciler: Reconciler,
        pace: Pace | None = None,
    ) -> None:
        self._engine = engine
        self._host = host or engine
        self._host_given = host is not None
        self._connect = connect
        self._inbox = inbox
        self._progress = progress
        self._reconciler = reconciler
        self._pace = pace or Pace()
        self._now = self._pace.now
        self._lost_ns: int | None = None
        self._ended_ns: int | None = None
        self._down = False
        self._ahead_ns = 0
        self._heard = False
        self._open: asyncio.Future[Opened] = asyncio.Future()
        self._digested = asyncio.Event()
        self._digested.set()
        self._opened_s: float | None = None
        self._log = log.bind(engine=engine)

    @property
    def opened(self) -> bool:
        """Whether the stream of the latest connection was opened; it may have ended since."""
        return self._open.done()

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            await tenacity.AsyncRetrying(
                wait=tenacity.wait_random_exponential(
                    multiplier=self._pace.backoff_first_s,
                    min=self._pace.backoff_first_s,
                    max=self._pace.backoff_most_s,
                ),
                retry=tenacity.retry_if_exception_type(FAILURES),
                stop=tenacity.stop_never,
            )(self._listen_once)

    async def _listen_once(self) -> None:
        """Listen over one connection. Returns if it lived long enough to be called stable."""
        self._opened_s = None
        try:
            async with self._connect() as client:
                greeting = await self._in_time(client.greet(), "a greeting")
                await self._hear_out(client, self._greeted(greeting))
        except FAILURES as failure:
            if self._opened_s is None:
                self._down = self._down or _refused(failure)
                self._lost(failure)
                raise
            self._log.info("engine.stream_ended", reason=words(failure))
            if _clock_s() - self._opened_s < self._pace.stable_after_s:
                raise

    def _greeted(self, greeting: Greeting) -> Connection:
        if not self._host_given and greeting.name is not None:
            self._host = greeting.name
        self._ahead_ns = greeting.ahead_ns
        engine_now_ns = self._now() + self._ahead_ns
        self._log.debug("engine.greeted", host=self._host, api_version=greeting.api_version)
        return Connection(
            engine=self._engine,
            host=self._host,
            opened_ns=engine_now_ns,
            since_ns=self._progress.since_ns(engine_now_ns),
            ahead_ns=greeting.ahead_ns,
            lost_ns=self._ended_ns if self._down or greeting.local else None,
            after_failure=self._lost_ns is not None,
            identity=greeting.identity,
            podman=greeting.podman,
        )

    def _opened(self, connection: Connection, history: tuple[Event, ...] | None) -> None:
        """The stream is there: only now is the engine back."""
        self._opened_s = _clock_s()
        self._down = False
        self._log.info("engine.connected", host=self._host)
        if self._lost_ns is not None:
            down_s = round((self._now() - self._lost_ns) / 1e9, 3)
            self._announce("engine_back", {"down_s": str(down_s)})
            self._lost_ns = None
        # While the store takes nothing, histories would heap up.
        opened = Opened(connection, history if self._digested.is_set() else None)
        self._digested = opened.digested
        self._inbox.put(opened)
        self._open.set_result(opened)

    async def _hear_out(self, client: EngineClient, connection: Connection) -> None:
        """Read the stream and watch over it until one of them fails, as both do in the end."""
        self._open = asyncio.get_running_loop().create_future()
        # A TaskGroup that is cancelled just as one of its tasks fails tells of the failure only:
        # whoever was told to stop would reconnect.
        hearing = [
            asyncio.ensure_future(self._read(client, connection)),
            asyncio.ensure_future(self._watch(client, connection)),
            asyncio.ensure_future(self._reconciler.run(client, self._open)),
        ]
        try:
            ended, _ = await asyncio.wait(hearing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in hearing:
                task.cancel()
            await asyncio.gather(*hearing, return_exceptions=True)
            if self._opened_s is not None:
                self._ended_ns = self._now() + self._ahead_ns
        for task in ended:
            task.result()

    async def _read(self, client: EngineClient, connection: Connection) -> None:
        framer = self._framer()
        oversized = 0
        history = await self._history(client, self._proving(connection))
        async with client.stream(connection.since_ns) as chunks:
            self._opened(connection, history)
            async for chunk in chunks:
                self._heard = True
                self._inbox.put_records(connection, framer.feed(chunk))
                if framer.oversized > oversized:
                    count, oversized = framer.oversized - oversized, framer.oversized
                    self._inbox.put(Dropped(connection, count, Why.RECORD_TOO_LONG))
        raise EngineUnavailable("the engine closed the stream")

    def _proving(self, connection: Connection) -> Connection:
        """As far back as an event has to be that proves the history whole.

        Docker remembers few, so where none was taken in yet, any that is older will do.
        """
        if self._progress.anchored or connection.podman:
            return connection
        return replace(connection, since_ns=1)

    def _framer(self) -> Framer:
        """One that keeps no record that would never find room."""
        return Framer(min(RECORD_LIMIT, self._inbox.longest))

    async def _watch(self, client: EngineClient, connection: Connection) -> None:
        """Ping the engine, and where the stream is silent ask whether it should be."""
        suspects: set[str] = set()
        while True:
            self._heard = False
            await asyncio.sleep(self._pace.ping_every_s)
            await self._in_time(client.ping(), "a ping")
            busy = self._heard or not self._inbox.empty
            missed = set() if busy else await self._missed(client, connection)
            if missed & suspects:
                raise EngineUnavailable("the stream is silent while the engine has events")
            suspects = missed

    async def _missed(self, client: EngineClient, connection: Connection) -> set[str]:
        """The ids of events that the engine has and that have not been taken in.

        One of them can be on its way; one that is still missing a round later is not. An engine
        that does not answer this question is given the benefit of the doubt.
        """
        since_ns = self._progress.since_ns(self._now() + connection.ahead_ns)
        asked = replace(connection, since_ns=since_ns)
        history = await self._history(client, asked)
        return {event.id for event in history or () if not self._progress.remembers(event)}

    async def _history(
        self, client: EngineClient, connection: Connection
    ) -> tuple[Event, ...] | None:
        """What the engine remembers; None if it does not tell.

        Its clock is known to the second only: what was taken in last is not to be left out.
        """
        now_ns = self._now() + connection.ahead_ns
        last_ns = self._progress.position_ns
        until_ns = now_ns if last_ns > now_ns + CLOCK_DOUBT_NS else max(now_ns, last_ns + 1)
        try:
            async with asyncio.timeout(self._pace.answer_s):
                body = await client.history(connection.since_ns, until_ns)
        except FAILURES:
            return None
        records = [read(record, connection) for record in self._framer().feed(body + b"\n")]
        events = tuple(event for event in records if not isinstance(event, Malformed))
        return None if records and not events else events  # a proxy's page is no history

    async def _in_time(self, answer: Awaitable[T], what: str) -> T:
        try:
            async with asyncio.timeout(self._pace.answer_s):
                return await answer
        except TimeoutError:
            raise EngineUnavailable(f"no answer to {what} in {self._pace.answer_s:g} s") from None

    def _lost(self, failure: BaseException) -> None:
        """Say that the engine is out of reach: once, not once per try."""
        if self._lost_ns is not None:
            return
        self._lost_ns = self._now()
        self._log.warning("engine.unreachable", reason=words(failure), retrying="until it answers")
        self._announce("engine_lost", {"reason": words(failure)})

    def _announce(self, action: str, facts: dict[str, str]) -> None:
        self._inbox.put(
            happening(
                action,
                engine=self._engine,
                host=self._host,
                time_ns=self._now(),
                name=self._engine,
                attributes=facts,
            )
        )


def _refused(failure: BaseException) -> bool:
    """Whether nobody listens where the engine did: it is not the network that is down."""
    return isinstance(failure, aiohttp.ClientConnectorError) and failure.os_error.errno in (
        errno.ECONNREFUSED,
        errno.ENOENT,
    )


def _clock_s() -> float:
    return asyncio.get_running_loop().time()
