"""One HTTP/1.1 connection to a destination: one request at a time, and the response to it.

The status says what became of a delivery, and for some services the body as well. So a connection
reads the head of a response and the beginning of its body, both with a limit in bytes and in time,
and nothing else. It is closed
when the destination closes it, when it was idle for `IDLE_TIMEOUT_S`, when a response was not read
to its end, when a request is cancelled, and when data arrives that no request asked for: a response
must never be mistaken for the response to another request.

A long request is written in pieces, as fast as the socket takes them, and freed when they are
written: ten destinations that answer slowly must not keep ten long requests in memory.
"""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

MAX_HEAD_BYTES = 65_536
"""How much may arrive before the body of a response: its head, and any 1xx responses."""

BODY_TIMEOUT_S = 3.0
"""How long the body of a response may take once the status is known."""

IDLE_TIMEOUT_S = 15.0
"""How long a connection is kept without a request. If the receiver closes it earlier, relay notices
that; if it is sending a request at that moment, `HttpSender` sends it again."""

PIECE_BYTES = 128 * 1024
"""How much of a long request is written at once. If the socket does not take all of it, the
transport copies the rest."""


class InvalidHttpResponse(Exception):
    """The response is not HTTP, or its head is longer than `MAX_HEAD_BYTES`."""

    def __str__(self) -> str:
        return "the answer is not HTTP, or its headers are too long"


class ServerDisconnected(Exception):
    """The connection was closed before a response arrived."""

    def __str__(self) -> str:
        return "closed the connection without an answer"


class RawResponse(NamedTuple):
    """A response as it was received."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    """At most the first ``max_body_bytes`` of it."""


class Connection(asyncio.Protocol):
    """Sends a request and reads the response, up to a limit.

    If the body breaks off, is too slow or too long, the connection is closed, but the response
    counts: its status has arrived.
    """

    def __init__(self, max_body_bytes: int) -> None:
        """``max_body_bytes`` is how much of the body of a response is returned."""
        self._max_body_bytes = max_body_bytes
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = None
        """None once the connection is lost."""
        self._response: asyncio.Future[RawResponse] | None = None
        """The response that `send_request` waits for; None if no request is open."""
        self._unsent: Iterator[memoryview] | None = None
        """The rest of a long request; None if all of it was written."""
        self._is_paused = False
        """Whether the transport does not accept more data at the moment."""
        self._status: int | None = None
        """Status of the response whose body is being read; None before that."""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._head_bytes = 0
        """Bytes received of the head."""
        self._idle_since_s = 0.0
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def idle_s(self) -> float:
        """How long ago the last response was read."""
        return self._loop.time() - self._idle_since_s

    @property
    def is_answered(self) -> bool:
        """Whether anything was received of the response to the last request."""
        return self._head_bytes > 0

    async def send_request(self, request: list[bytes], deadline_s: float) -> RawResponse:
        """Send a request and return the response, if its status arrives by ``deadline_s``.

        ``request`` is a list of its parts. They are removed from it, so that nothing refers to them
        when they are written. ``deadline_s`` is in the loop's time.

        Raises `TimeoutError`, `InvalidHttpResponse`, `ServerDisconnected` and `OSError`.
        """
        if self._transport is None or self._transport.is_closing():
            raise ServerDisconnected
        self._status, self._head_bytes, self._body, self._headers = None, 0, bytearray(), []
        self._response = self._loop.create_future()
        self._set_deadline(deadline_s)
        if len(request) == 1:
            self._transport.write(request.pop())
        else:
            self._unsent = cut_into_pieces(request)
            self._send_more()
        try:
            return await self._response
        except asyncio.CancelledError:
            self.close()
            raise

    def _send_more(self) -> None:
        """Write more of a long request, as much as the transport accepts."""
        while self._unsent is not None and not self._is_paused and self.is_open:
            piece = next(self._unsent, None)
            if piece is None:
                self._unsent = None
            else:
                cast("asyncio.Transport", self._transport).write(piece)

    def pause_writing(self) -> None:
        """Called by asyncio when the transport has enough to write."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Called by asyncio when the transport accepts data again."""
        self._is_paused = False
        self._send_more()

    def close(self) -> None:
        """Close the connection at once, also while a request is open."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the connection is established."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = HttpResponseParser(self)
        # As lenient as browsers are. That is safe, because relay passes no response on to another
        # HTTP parser.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with a part of a response, or with data that no request asked for."""
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
        """Called by the parser when a response begins; there must be none without a request."""
        if self._response is None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser with each header. Headers after a body (trailers) are ignored."""
        if self._status is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Called by the parser at the end of a head; the head of a 1xx response is discarded."""
        if self._parser is None or self._response is None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._headers = []
            return
        self._status = status

    def on_body(self, part: bytes) -> None:
        """Called by the parser with a part of the body."""
        if self._response is not None:
            self._body += part
            if len(self._body) > self._max_body_bytes:
                self._finish(reusable=False)

    def on_message_complete(self) -> None:
        """Called by the parser at the end of a response."""
        if self._status is None or self._parser is None or self._transport is None:
            return
        all_sent = self._unsent is None and self._transport.get_write_buffer_size() == 0
        self._finish(reusable=all_sent and self._parser.should_keep_alive())

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio when the connection has ended."""
        # The parser refers to this object: a reference cycle would keep both in memory.
        self._parser = self._transport = self._unsent = None
        if self._timer is not None:
            self._timer.cancel()
        self._end(error or ServerDisconnected())

    def _enforce_limits(self) -> None:
        """Limit the head in bytes and the body in time, while the response is incomplete."""
        if self._status is not None:
            self._set_deadline(min(self._deadline_s, self._loop.time() + BODY_TIMEOUT_S))
        elif self._head_bytes > MAX_HEAD_BYTES:
            self._fail(InvalidHttpResponse())

    def _finish(self, *, reusable: bool) -> None:
        """Return the response to `send_request`, and keep the connection if it is reusable."""
        response, self._response, self._unsent = self._response, None, None
        if response is not None and not response.done():
            status = self._status or 0
            body = bytes(self._body[: self._max_body_bytes])
            response.set_result(RawResponse(status, self._headers, body))
        if reusable:
            self._idle_since_s = self._loop.time()
            self._set_deadline(self._idle_since_s + IDLE_TIMEOUT_S)
        else:
            self.close()

    def _end(self, error: Exception) -> None:
        """End the request, because no more data will come. With a status the response counts."""
        if self._status is not None:
            self._finish(reusable=False)
        else:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """Fail the open request and close the connection."""
        response, self._response, self._unsent = self._response, None, None
        if response is not None and not response.done():
            response.set_exception(error)
        self.close()

    def _set_deadline(self, deadline_s: float) -> None:
        """Move the deadline. A timer that is due earlier stays, and is renewed when it fires.

        So a request that is answered in time needs no timer of its own.
        """
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


def cut_into_pieces(parts: list[bytes]) -> Iterator[memoryview]:
    """Yield the parts in pieces of `PIECE_BYTES`, without copying them.

    Each part is removed from the list, so that nothing refers to it when its last piece is written.
    """
    while parts:
        part = memoryview(parts.pop(0))
        for start in range(0, len(part), PIECE_BYTES):
            yield part[start : start + PIECE_BYTES]
