"""A connection to a cluster of NATS servers that stays: it is opened again whenever it is lost.

A request is published with a subject of our own inbox as its reply, and its answer completes a
future. Nothing is kept while there is no connection: a request then fails at once, and one whose
connection is lost fails at that moment.

A connection counts as open only once the server has accepted the subscription to the inbox. Without
it, a server would store what is published, and nobody would learn of it.
"""

import asyncio
import random
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import structlog

from relay.config.nats_keys import NatsKeys
from relay.core.tasks import import_in_thread, run_in_thread, spawn
from relay.core.tls import ClientTls, TlsError
from relay.nats.failure import MAX_ERROR_CHARS, FailureKind, RequestError, describe_error
from relay.nats.login import LoginError, read_login
from relay.nats.server_info import ServerInfo, read_server_info

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from relay.nats.client import OneConnection

log = structlog.get_logger()

CONNECT_TIMEOUT_S = 5.0
"""How long one attempt may take, with TLS and login."""
FIRST_WAIT_S = 1.0
"""At most so long relay waits before it connects again to a server that was there until now: a
restarted server is not to get a thousand hosts in the same moment."""
MIN_WAIT_S, MAX_WAIT_S = 1.0, 5.0
"""The bounds of the random wait after all servers were tried."""
CANCEL_AGAIN_S = 0.1
"""How soon the attempts are cancelled again while they go on: nats-py takes a cancellation for an
error of the connection in some places, and continues."""
_HEADER_LINE_BYTES = len("NATS/1.0\r\n\r\n")

_DENIED = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"')
"""nats-py hands on what a nats-server says, in lower case."""


class ConnectionState(StrEnum):
    """Whether requests can be made."""

    CONNECTING = "connecting"
    """There is no connection, and attempts are being made."""
    CONNECTED = "connected"
    CLOSED = "closed"
    """It was closed, or never opened."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message, or an answer of the server."""

    subject: str
    reply: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def status(self) -> str:
        """``503`` and the like; empty if it has none. Any sender may write one into a message, so
        it says something in an answer of the server only."""
        return self.headers.get("Status", "")

    @property
    def description(self) -> str:
        """What the status means, in the server's words."""
        return self.headers.get("Description", "")[:MAX_ERROR_CHARS]


OnMessage = Callable[[Message], None]
OnDenied = Callable[[str], None]


class _Waiting(msgspec.Struct):
    """A request whose answer is awaited."""

    subject: str
    answer: asyncio.Future[Message]


class NatsConnection:
    """A connection as one account, which is opened again whenever it is lost."""

    def __init__(
        self, name: str, keys: NatsKeys, *, random_: Callable[[], float] = random.random
    ) -> None:
        """``name`` is shown in logs and in the server's list of connections. ``random_`` returns
        what `random.random` does. Raises `TlsError`."""
        self.name = name
        self._keys = keys
        self._random = random_
        self._tls = ClientTls(keys.tls, protocols=()) if keys.uses_tls else None
        self._state = ConnectionState.CLOSED
        self._problem: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._client: OneConnection | None = None
        self._server = ServerInfo()
        self._opened = asyncio.Event()
        self._tried = asyncio.Event()
        self._on_open: list[Callable[[], None]] = []
        self._listeners: dict[str, OnMessage] = {}
        self._denied: dict[str, OnDenied] = {}
        self._inbox = f"{keys.inbox}.{_random_token()}"
        self._waiting: dict[str, _Waiting] = {}
        self._count = 0
        self.opened_count = 0
        """How often a connection was opened; one more than the number of reconnects."""

    @property
    def state(self) -> ConnectionState:
        """Whether requests can be made."""
        return self._state

    @property
    def is_connected(self) -> bool:
        """Whether requests can be made."""
        return self._state is ConnectionState.CONNECTED

    @property
    def problem(self) -> str | None:
        """Why there is no connection, in one line; None while there is one, and before the first
        attempt has failed."""
        return self._problem

    @property
    def server(self) -> ServerInfo:
        """What the server said that is, or was, connected last."""
        return self._server

    @property
    def inbox(self) -> str:
        """The prefix of the reply subjects of this connection."""
        return self._inbox

    def on_open(self, call: Callable[[], None]) -> None:
        """Call this each time when a connection is open."""
        self._on_open.append(call)

    def listen(self, subject: str, on_message: OnMessage) -> None:
        """Subscribe to a subject, on each connection that is opened from now on."""
        self._listeners[subject] = on_message

    def watch_denials(self, prefix: str, on_denied: OnDenied) -> None:
        """Call this with words when the account may not publish to a subject that starts so."""
        self._denied[prefix] = on_denied

    async def open(self) -> None:
        """Begin to connect; it goes on until `close`. Raises `ImportError` without nats-py."""
        await import_in_thread("relay.nats.client")
        if self._task is None:
            self._state = ConnectionState.CONNECTING
            self._task = spawn(self._run(), f"nats {self.name}: connection")

    async def wait_open(self, timeout_s: float) -> bool:
        """Wait until there is a connection, at most this long; return whether there is one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._opened.wait()
        return self.is_connected

    async def try_open(self, timeout_s: float) -> bool:
        """Wait until there is a connection, or every server was tried once; see `wait_open`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._tried.wait()
        return self.is_connected

    async def close(self) -> None:
        """End the connection and the attempts. What waits for an answer fails."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
        self._state = ConnectionState.CLOSED

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float,
    ) -> Message:
        """Publish, and return the answer. Raises `RequestError`."""
        self._count += 1
        reply = f"{self._inbox}.{self._count}"
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[reply] = _Waiting(subject, answer)
        try:
            await self.publish(subject, body, headers, reply)
            async with asyncio.timeout(timeout_s):
                message = await answer
        except TimeoutError:
            text = f"no answer within {timeout_s:g} s"
            raise RequestError(FailureKind.NO_ANSWER, text) from None
        finally:
            del self._waiting[reply]
        if message.status == "503":
            text = f"nobody listens to {subject}"
            raise RequestError(FailureKind.NO_RESPONDERS, text)
        return message

    async def publish(
        self,
        subject: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        reply: str = "",
    ) -> None:
        """Publish without waiting for anything but the buffer. Raises `RequestError`."""
        client = self._client
        if client is None or not self.is_connected:
            raise RequestError(FailureKind.NOT_CONNECTED, self._problem or "is not connected yet")
        size = len(body) + _size_bytes(headers)
        if size > self._server.max_payload:
            # The server would end the connection.
            text = f"has {size} bytes, and the server takes {self._server.max_payload}"
            raise RequestError(FailureKind.TOO_LARGE, text)
        try:
            await client.publish(subject, body, reply, None if headers is None else dict(headers))
        except Exception as error:  # whatever nats-py raises, it was not published
            if client.lost.is_set():
                raise RequestError(FailureKind.NOT_CONNECTED, describe_error(error)) from error
            raise RequestError(FailureKind.REFUSED, describe_error(error)) from error

    async def _run(self) -> None:
        """Open one connection after another."""
        try:
            while True:
                client = await self._connect()
                try:
                    await client.lost.wait()
                finally:
                    self._lose("the connection was lost")
                    await client.shut()
                log.warning("nats.lost", connection=self.name)
                await asyncio.sleep(FIRST_WAIT_S * self._random())
        finally:
            self._lose("is closed")

    async def _connect(self) -> "OneConnection":
        """Try the servers in turn until one accepts; return the connection."""
        while True:
            urls = sorted(self._keys.url, key=lambda _: self._random())
            for url in urls:
                try:
                    return await self._connect_to(url)
                except (LoginError, TlsError, _Denied) as error:
                    self._report(str(error))
                except Exception as error:  # nats-py raises what asyncio, ssl and json raise
                    self._report(f"{_describe_address(url)}: {describe_error(error)}")
            self._tried.set()
            await asyncio.sleep(MIN_WAIT_S + (MAX_WAIT_S - MIN_WAIT_S) * self._random())

    async def _connect_to(self, url: str) -> "OneConnection":
        from relay.nats.client import OneConnection  # noqa: PLC0415 (imported by `open`)

        login = await run_in_thread(partial(read_login, self._keys), f"nats {self.name}: login")
        errors: list[str] = []
        client = OneConnection(
            needs_tls=self._keys.uses_tls, on_error=partial(self._on_error, errors)
        )
        tls = None if self._tls is None else self._tls.context()
        await client.open(url, login, tls, name=self.name, timeout_s=CONNECT_TIMEOUT_S)
        try:
            await self._subscribe(client, errors)
        except BaseException:
            await client.shut()
            raise
        self._accept(client)
        return client

    async def _subscribe(self, client: "OneConnection", errors: list[str]) -> None:
        """Subscribe to everything; raise `_Denied` if the account may not."""
        await client.listen(f"{self._inbox}.*", self._on_answer)
        for subject, on_message in self._listeners.items():
            await client.listen(subject, partial(_hand_over, on_message))
        # The server answers in order, so its refusals come before the answer to the second ping.
        # nats-py writes the first one at once, and what was subscribed a moment later.
        await client.flush(int(CONNECT_TIMEOUT_S))
        await client.flush(int(CONNECT_TIMEOUT_S))
        for text in errors:
            if (found := _DENIED.search(text)) and found[1] == "subscription":
                raise _Denied(
                    f"the account may not subscribe to {self._keys.inbox}.>: allow it, or set "
                    "'inbox_prefix' to what it may subscribe to"
                )

    def _accept(self, client: "OneConnection") -> None:
        """Note that there is a connection."""
        self._client = client
        self._server = read_server_info(client.server_info)
        self._state, self._problem = ConnectionState.CONNECTED, None
        self.opened_count += 1
        self._opened.set()
        self._tried.set()
        log.info(
            "nats.connected",
            connection=self.name,
            server=self._server.name,
            version=self._server.version,
        )
        for call in self._on_open:
            call()

    def _lose(self, text: str) -> None:
        """Note that there is no connection; whatever waits for an answer fails."""
        if self._client is not None:
            self._problem = self._problem or text
        self._client = None
        self._opened.clear()
        self._state = ConnectionState.CONNECTING
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                error = RequestError(FailureKind.NOT_CONNECTED, self._problem or text)
                waiting.answer.set_exception(error)

    def _report(self, text: str) -> None:
        """Note why an attempt failed. The same reason is logged once."""
        if text != self._problem:
            log.warning("nats.not_connected", connection=self.name, error=text)
        self._problem = text

    def _on_answer(self, message: "Msg") -> None:
        waiting = self._waiting.get(message.subject)
        if waiting is not None and not waiting.answer.done():
            waiting.answer.set_result(_read_message(message))

    def _on_error(self, errors: list[str], error: Exception) -> None:
        """Take what the server or nats-py says while a connection is open."""
        text = describe_error(error)
        found = _DENIED.search(text.lower())
        if found is None:
            if self._client is not None:  # what ends an attempt is reported once, as its reason
                log.info("nats.error", connection=self.name, error=text)
        elif found[1] == "publish":
            self._deny(found[2])
        elif self.is_connected:  # it was allowed until now: connect again, which says so
            log.warning("nats.not_allowed", connection=self.name, error=text)
            assert self._client is not None
            self._client.lost.set()
        errors[:] = [*errors[:9], text.lower()]

    def _deny(self, subject: str) -> None:
        """Fail what was published to a subject (in lower case) to which the account may not."""
        for waiting in self._waiting.values():
            if waiting.subject.lower() == subject and not waiting.answer.done():
                text = f"the account may not publish to {waiting.subject}"
                waiting.answer.set_exception(RequestError(FailureKind.PERMISSION, text))
        for prefix, on_denied in self._denied.items():
            if subject.startswith(prefix.lower()):
                more = "…" if len(subject) > len(prefix) else ""
                on_denied(f"the account may not publish to {prefix}{more}")


class _Denied(Exception):
    """The account may not subscribe to the inbox."""


def _describe_address(url: str) -> str:
    """Return host and port of a URL, as people know the server."""
    parts = urlsplit(url)
    return parts.netloc if parts.port else f"{parts.netloc}:4222"


def _hand_over(on_message: OnMessage, message: "Msg") -> None:
    on_message(_read_message(message))


def _read_message(message: "Msg") -> Message:
    return Message(message.subject, message.reply, message.headers or {}, message.data)


def _size_bytes(headers: Mapping[str, str] | None) -> int:
    """Return how many bytes headers take in a message."""
    if headers is None:
        return 0
    lines = (len(name) + len(value.encode()) + 4 for name, value in headers.items())
    return _HEADER_LINE_BYTES + sum(lines)


def _random_token() -> str:
    """Return a part of an inbox that no other connection has."""
    return f"{random.SystemRandom().getrandbits(80):020x}"
