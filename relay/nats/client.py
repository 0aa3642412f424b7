"""One connection of nats-py to one server, until it is lost.

nats-py speaks the protocol, logs in and encrypts. It does not reconnect, because its own reconnects
have no jitter, keep the login of the first connection, and send what was published before the
connection was lost: `relay.nats.connection` opens the next connection.

Written against nats-py 2.16: the names with ``_`` that are used here, and the expressions of its
parser, are its own, so `pyproject.toml` allows no other minor version. Logins are signed without
its package for nkeys.

Whoever may publish chooses the bytes of a subject and of headers, and a nats-server checks neither.
nats-py would stop reading at some of them, and would get the same message again on the next
connection: so here no message ends the reading.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport
from nats.errors import Error
from nats.protocol import parser

from relay.nats.login import Login
from relay.nats.nkey import public_key, sign

PING_INTERVAL_S = 15
"""How often the server is pinged while nothing else shows that it is there. After two pings without
an answer the connection is given up."""
MAX_OUTSTANDING_PINGS = 2
MAX_HEADER_BYTES = 8192
"""Longer headers are not read: those of a relay have some 250 bytes. A stream takes 64 KiB, which
could be 10,000 headers and more than 1 MB of memory for each message."""

# nats-py takes each white space for the end of a subject, and refuses the line if another part
# follows. To a nats-server only blanks, tabs and line ends are.
_LINE = rb" ([^ \t\r\n]+) (\d+) (([^ \t\r\n]+) )?"
parser.MSG_RE = re.compile(rb"\AMSG" + _LINE + rb"(\d+)\r\n")
parser.HMSG_RE = re.compile(rb"\AHMSG" + _LINE + rb"(\d+) (\d+)\r\n")

# nats-py writes a traceback to standard error if an answer comes that nobody waits for any more, as
# it happens while a connection is closed. What matters reaches `OnError`.
logging.getLogger("nats").setLevel(logging.CRITICAL)
# asyncio warns at each end of a connection that nats-py has encrypted after it was opened. The
# connection is closed all the same.
logging.getLogger("asyncio").addFilter(lambda record: "eof_received" not in str(record.msg))

OnError = Callable[[Exception], None]
OnMessage = Callable[[Msg], None]


class OneConnection(Client):
    """One connection. It is used once: `open`, and then until `lost` is set."""

    def __init__(self, *, needs_tls: bool, on_error: OnError) -> None:
        """``on_error`` gets what the server says and what goes wrong later."""
        super().__init__()
        self.lost = asyncio.Event()
        self._needs_tls = needs_tls
        self._on_error = on_error
        self._is_open = False

    @property
    def server_info(self) -> dict[str, Any]:
        """What the server said about itself."""
        return self._server_info

    async def open(
        self, url: str, login: Login, tls: ssl.SSLContext | None, *, name: str, timeout_s: float
    ) -> None:
        """Connect and log in, once. Raises `OSError`, `TimeoutError` or `nats.errors.Error`."""
        seed, jwt = login.seed, login.jwt
        self._public_nkey = None if seed is None else public_key(seed)
        # Otherwise nats-py sends a signature only if the server requires a login: where it has a
        # `no_auth_user`, relay would be that user, whoever the configuration says it is.
        self._auth_configured = seed is not None
        try:
            async with asyncio.timeout(timeout_s):
                await self.connect(
                    [url],
                    name=name,
                    error_cb=self._report,
                    allow_reconnect=False,
                    connect_timeout=max(1, int(timeout_s)),
                    ping_interval=PING_INTERVAL_S,
                    max_outstanding_pings=MAX_OUTSTANDING_PINGS,
                    pending_size=0,  # nothing is kept while there is no connection
                    tls=tls,
                    user=login.username,
                    password=login.password,
                    token=login.token,
                    signature_cb=None if seed is None else partial(sign, seed),
                    user_jwt_cb=None if jwt is None else jwt.encode,
                )
            if not self.is_connected:  # it was closed instead of answered
                raise Error("closed the connection")
            self._is_open = True
        except BaseException:
            await self.shut()
            raise

    async def listen(self, subject: str, on_message: OnMessage) -> None:
        """Subscribe for as long as the connection lasts."""

        async def pass_on(message: Msg) -> None:
            on_message(message)

        # Unlimited: what arrives is bounded by what was asked for, and nothing may be dropped.
        await self.subscribe(subject, cb=pass_on, pending_msgs_limit=0, pending_bytes_limit=0)

    async def shut(self) -> None:
        """Close the connection; an error while closing changes nothing."""
        self._is_open = True  # so that errors no longer end `open`
        try:
            async with asyncio.timeout(1.0):
                await self.close()
        except (OSError, TimeoutError, Error):
            pass
        finally:
            self.lost.set()
            self._abort()

    def _abort(self) -> None:
        """Drop the socket with what a server that hangs has not taken."""
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer is not None:
            transport = self._transport._io_writer.transport
            # Of an encrypted one that was closed twice, Python 3.11.2 has forgotten the protocol.
            with suppress(AttributeError):
                if transport.get_write_buffer_size() or not transport.is_closing():
                    transport.abort()

    async def _report(self, error: Exception) -> None:
        if not self._is_open:
            raise error  # ends `connect`, which would go on trying
        self._on_error(error)

    async def _read_loop(self) -> None:
        try:
            await super()._read_loop()
        finally:  # nats-py would wait for two pings before it gives the connection up
            self.lost.set()

    async def _process_headers(self, headers: bytes | None) -> dict[str, str] | None:
        if headers is None or len(headers) > MAX_HEADER_BYTES:
            return None
        try:
            return await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):  # an odd status, or too short for one
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        if not subject.isascii():
            subject = subject.decode(errors="replace").encode()
        message: Msg = super()._build_message(sid, subject, reply, data, headers)
        return message

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        # Everything that ends the connection comes here, and may fail after this.
        self.lost.set()
        await super()._close(status, do_cbs)

    def _connect_command(self) -> bytes:
        # The last moment before the login is sent; TLS has been started if the server wants it.
        if self._needs_tls and not self._server_info.get("tls_required"):
            raise Error("does not require TLS, and the URL says tls://")
        return super()._connect_command()
