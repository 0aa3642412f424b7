"""One connection to a destination: a request goes out, an answer comes in, one at a time."""

import asyncio
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_HEAD_BYTES = 65_536
"""How much may come before an answer's body."""

BODY_TIMEOUT_S = 3.0
"""How long an answer's body may take once its status is known."""

IDLE_TIMEOUT_S = 15.0
"""How long a connection is kept without a request. One that the receiver closes before is noticed,
unless a request crosses that on its way, which costs a try."""


class InvalidHttpResponse(Exception):
    """What was answered is not HTTP, or has no end."""

    def __str__(self) -> str:
        return "answered what is not HTTP, or more headers than are read"


class ServerDisconnected(Exception):
    """The connection was closed before an answer."""

    def __str__(self) -> str:
        return "closed the connection without an answer"


class RawResponse(NamedTuple):
    """An answer, as it came."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    """Its beginning."""


class Connection(asyncio.Protocol):
    """Asks, and reads an answer up to a bound.

    The status says what became of a request: a body that breaks off, drags on or is too long ends
    the connection and changes nothing.
    """

    def __init__(self, max_body_bytes: int) -> None:
        """``most`` bytes are kept of a body."""
        self._max_body_bytes = max_body_bytes
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = None
        """None once the connection is gone."""
        self._response: asyncio.Future[RawResponse] | None = None
        """What is waited for; None while nothing is asked."""
        self._status: int | None = None
        """Of the answer whose body is being read; None before that."""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""
        self._head_bytes = 0
        """What came of the answer's head."""
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._transport is not None and not self._transport.is_closing()

    async def send_request(self, request: bytes, deadline_s: float) -> RawResponse:
        """Send the request; the answer to it, if there is one by ``until_s`` of the loop's time.

        Raises `TimeoutError`, `InvalidHttpResponse`, `ServerDisconnected` and `OSError`.
        """
        if self._transport is None or self._transport.is_closing():
            raise ServerDisconnected
        self._status, self._head_bytes, self._body, self._headers = None, 0, b"", []
        self._response = self._loop.create_future()
        self._set_deadline(deadline_s)
        self._transport.write(request)
        try:
            return await self._response
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """End it, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = HttpResponseParser(self)
        # as lenient as browsers are: what a receiver says is read, not passed on
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )

    def data_received(self, data: bytes) -> None:
        """Something came of an answer, or of what nobody asked for."""
        if self._parser is None or self._response is None:
            self.close()
            return
        if self._status is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._finish(reusable=False)
        except HttpParserError:
            self._end(InvalidHttpResponse())
        if self._response is not None:
            self._enforce_limits()

    def on_message_begin(self) -> None:
        """Another answer begins; behind the one that was waited for there is to be none."""
        if self._response is None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header came, of the head or behind a body."""
        if self._status is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head came, if only of an answer that announces another."""
        if self._parser is None or self._response is None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._headers = []
            return
        self._status = status

    def on_body(self, part: bytes) -> None:
        """Some of the body came."""
        if self._response is not None:
            self._body += part
            if len(self._body) > self._max_body_bytes:
                self._finish(reusable=False)

    def on_message_complete(self) -> None:
        """All of it came."""
        if self._status is None or self._parser is None or self._transport is None:
            return
        all_sent = self._transport.get_write_buffer_size() == 0
        self._finish(reusable=all_sent and self._parser.should_keep_alive())

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        self._parser = self._transport = None  # with what they hold, and a circle of references
        if self._timer is not None:
            self._timer.cancel()
        self._end(error or ServerDisconnected())

    def _enforce_limits(self) -> None:
        """Not all came yet: neither the head nor the time for the body is without an end."""
        if self._status is not None:
            self._set_deadline(min(self._deadline_s, self._loop.time() + BODY_TIMEOUT_S))
        elif self._head_bytes > MAX_HEAD_BYTES:
            self._fail(InvalidHttpResponse())

    def _finish(self, *, reusable: bool) -> None:
        """That is the answer."""
        response, self._response = self._response, None
        if response is not None and not response.done():
            status = self._status or 0
            response.set_result(
                RawResponse(status, self._headers, self._body[: self._max_body_bytes])
            )
        if reusable:
            self._set_deadline(self._loop.time() + IDLE_TIMEOUT_S)
        else:
            self.close()

    def _end(self, error: Exception) -> None:
        """Nothing more comes of it; what came counts, if it says what became of the request."""
        if self._status is not None:
            self._finish(reusable=False)
        else:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """There will be no answer."""
        response, self._response = self._response, None
        if response is not None and not response.done():
            response.set_exception(error)
        self.close()

    def _set_deadline(self, deadline_s: float) -> None:
        """Move the deadline; a timer that is due before it stays, and looks again."""
        self._deadline_s = deadline_s
        if self._timer is not None:
            if self._timer.when() <= deadline_s:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline_s:
            self._set_deadline(self._deadline_s)
        else:
            self._end(TimeoutError())
