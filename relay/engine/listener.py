"""Reads one engine's stream, for ever: connects, watches, reconnects."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog
import tenacity

from relay.engine.client import FAILURES, EngineClient, EngineUnavailable, Greeting, Now, words
from relay.engine.framing import Framer
from relay.engine.inbox import Connection, Dropped, Inbox, Opened
from relay.engine.record import Malformed, parse
from relay.event import Event, happening

log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pace:
    """The listener's times, in seconds."""

    backoff_first_s: float = 0.1
    backoff_most_s: float = 30
    stable_after_s: float = 30
    """The backoff starts over only after a connection that lived so long."""
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
        now: Now,
        pace: Pace | None = None,
    ) -> None:
        self._engine = engine
        self._host = host or engine
        self._host_given = host is not None
        self._connect = connect
        self._inbox = inbox
        self._progress = progress
        self._now = now
        self._pace = pace or Pace()
        self._lost_ns: int | None = None
        self._ahead_ns = 0
        self._heard = False
        self._opened_s: float | None = None
        self._log = log.bind(engine=engine)

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
        )

    def _opened(self, connection: Connection) -> None:
        """The stream is there: only now is the engine back."""
        self._opened_s = _clock_s()
        self._log.info("engine.connected", host=self._host)
        if self._lost_ns is not None:
            down_s = round((self._now() - self._lost_ns) / 1e9, 3)
            self._announce("engine_back", {"down_s": str(down_s)})
            self._lost_ns = None
        self._inbox.put(Opened(connection))

    async def _hear_out(self, client: EngineClient, connection: Connection) -> None:
        """Read the stream and watch over it until one of them fails, as both do in the end."""
        # A TaskGroup that is cancelled just as one of its tasks fails tells of the failure only:
        # whoever was told to stop would reconnect.
        hearing = [
            asyncio.ensure_future(self._read(client, connection)),
            asyncio.ensure_future(self._watch(client, connection)),
        ]
        try:
            ended, _ = await asyncio.wait(hearing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in hearing:
                task.cancel()
            await asyncio.gather(*hearing, return_exceptions=True)
        for task in ended:
            task.result()

    async def _read(self, client: EngineClient, connection: Connection) -> None:
        framer = Framer()
        oversized = 0
        async with client.stream(connection.since_ns) as chunks:
            self._opened(connection)
            async for chunk in chunks:
                self._heard = True
                self._inbox.put_records(connection, framer.feed(chunk))
                if framer.oversized > oversized:
                    count, oversized = framer.oversized - oversized, framer.oversized
                    self._inbox.put(Dropped(connection, count, "a record outgrew 4 MiB"))
        raise EngineUnavailable("the engine closed the stream")

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
        since_ns = self._progress.since_ns(connection.opened_ns)
        try:
            async with asyncio.timeout(self._pace.answer_s):
                body = await client.history(since_ns, self._now() + self._ahead_ns)
        except FAILURES:
            return set()
        events = (
            parse(record, engine=self._engine, host=self._host, live_from_ns=0)
            for record in Framer().feed(body + b"\n")
        )
        return {
            event.id
            for event in events
            if not isinstance(event, Malformed) and not self._progress.remembers(event)
        }

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


def _clock_s() -> float:
    return asyncio.get_running_loop().time()
