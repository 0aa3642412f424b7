"""Sends mail to an SMTP server.

Each mail has a connection of its own: relay sends few, and servers close idle connections soon.
Nothing is sent before the connection is as the configuration wants it: with ``starttls``, a server
that offers no encryption gets neither password nor mail.
"""

import asyncio
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from email.utils import format_datetime
from ipaddress import ip_address
from time import time_ns

import structlog
from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPRecipientRefused,
    SMTPResponseException,
    SMTPStatus,
    SMTPTimeoutError,
)
from msgspec.structs import replace

from relay.core.exchange import Reached, Reason, Request, Response
from relay.core.tls import ClientTls
from relay.core.zone import UTC_NAME, TimeZone
from relay.delivery.http.resolver import Resolver
from relay.delivery.http.response import ConnectTimeout, ResponseReader, classify_error
from relay.delivery.http.shortage import ShortageWait
from relay.destinations.email import DATE_ZONE, EmailDestination

log = structlog.get_logger()

QUIT_TIMEOUT_S = 1.0
"""How long a server may take to say goodbye after it took the mail. Its answer changes nothing."""
SHOWN_REFUSALS = 5
"""At most this many refused recipients are named in an error."""
_FULL_NAME = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_MULTILINE = re.compile(r"\s*\n\s*")


class _Unable(Exception):
    """The server lacks what the configuration needs."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class SmtpSender:
    """A `Sender` of mail."""

    def __init__(self, destination: EmailDestination, wall_ns: Callable[[], int] = time_ns) -> None:
        """The ``Date`` of a mail is that of the clock ``wall_ns``. Raises `TlsError`."""
        self._wall_ns = wall_ns
        self._to = destination
        self._total_s = destination.timeout.total.total_seconds()
        self._connect_s = destination.timeout.connect.total_seconds()
        self._reader = ResponseReader(destination)
        self._tls = None
        if destination.security != "none":
            # without ALPN: a server refuses a client that offers none that it knows (RFC 7301, 3.2)
            self._tls = ClientTls(destination.tls, protocols=())
        self._resolver = Resolver()
        self._shortage = ShortageWait()

    async def send(self, request: Request) -> Response:
        """Send the mail to all recipients; the result holds no secret.

        It is a success if the server took the mail for at least one of them: the mail must not be
        sent to that one again. The error then names the others.
        """
        zone = TimeZone(request.headers.get(DATE_ZONE, UTC_NAME))
        date = zone.to_local(self._wall_ns())
        mail = f"Date: {format_datetime(date)}\r\n".encode() + request.body
        try:
            with self._client() as client:
                async with asyncio.timeout(self._total_s):
                    await self._open(client)
                    refused, text = await self._transfer(client, mail)
                await _quit(client)
        except (SMTPException, OSError, ValueError, _Unable) as error:
            return self._failed(error)
        response = self._reader.read(250, {}, text.encode(errors="surrogateescape"))
        return self._with_refused(response, refused) if refused else response

    async def reach(self) -> Reached:
        """Connect, encrypt the connection and log in; send no mail."""
        try:
            with self._client() as client:
                async with asyncio.timeout(self._total_s):
                    await self._open(client)
                await _quit(client)
        except (SMTPException, OSError, ValueError, _Unable) as error:
            response = self._failed(error)
            text = response.error or f"answered {response.status}: {response.answer.text}"
            return Reached(text, is_reached=False)
        login = " and logged in" if self._to.username else ""
        return Reached(f"reached{login} ({self._to.endpoint})", is_reached=True)

    def _client(self) -> closing[SMTP]:
        return closing(SMTP(hostname=self._to.host, timeout=None, start_tls=False))

    async def _open(self, client: SMTP) -> None:
        """Connect, encrypt the connection and log in, as the configuration wants it."""
        to, context = self._to, None if self._tls is None else self._tls.context()
        deadline_s = asyncio.get_running_loop().time() + self._total_s
        connection = await self._shortage.until_possible(self._connect, deadline_s)
        await client.connect(
            sock=connection,
            local_hostname=_local_name(connection),
            use_tls=to.security == "tls",
            tls_context=context,
        )
        await client.ehlo()
        if to.security == "starttls":
            if not client.supports_extension("starttls"):
                raise _Unable(Reason.TLS, "the server offers no encryption (STARTTLS)")
            await client.starttls(tls_context=context)
            await client.ehlo()
        if to.username is not None and to.password is not None:
            await _log_in(client, to.username, to.password.get_secret_value())

    async def _connect(self) -> socket.socket:
        try:
            async with asyncio.timeout(self._connect_s):
                return await self._resolver.connect(self._to.host, self._to.smtp_port)
        except TimeoutError as error:
            if error.errno is not None:  # the operating system's timeout (ETIMEDOUT)
                raise
            raise ConnectTimeout from None

    async def _transfer(self, client: SMTP, mail: bytes) -> tuple[list[SMTPRecipientRefused], str]:
        """Send the mail. Return the recipients that were refused, and the server's last answer.

        If all are refused, it raises the mildest refusal: the mail is tried again if one of them
        may still be accepted.
        """
        options, encoding = [], "ascii"
        if self._to.needs_utf8:
            if not client.supports_extension("smtputf8"):
                raise _Unable(
                    Reason.REFUSED, "the server takes no addresses beyond ASCII (SMTPUTF8)"
                )
            options, encoding = ["SMTPUTF8", "BODY=8BITMIME"], "utf-8"
        await client.mail(self._to.mail_from.address, options=options, encoding=encoding)
        refused = []
        for mailbox in self._to.mail_to:
            try:
                await client.rcpt(mailbox.address, encoding=encoding)
            except SMTPRecipientRefused as error:
                if error.code == SMTPStatus.domain_unavailable:  # 421: the connection is closed
                    raise
                refused.append(error)
        if len(refused) == len(self._to.mail_to):
            raise min(refused, key=lambda error: error.code)
        _, text = await client.data(mail)
        return refused, text

    def _failed(self, error: Exception) -> Response:
        match error:
            case SMTPResponseException():
                return self._answered(error.code, error.message)
            case _Unable():
                return self._reader.failed(error.reason, str(error))
            case SMTPTimeoutError():
                return self._reader.failed(Reason.TIMEOUT, str(error))
            case SMTPException() if isinstance(error.__cause__, OSError):
                return self._failed(error.__cause__)
            case SMTPException():
                return self._reader.failed(Reason.CONNECTION, str(error))
            case _:
                return self._reader.failed(*classify_error(error, self._to.timeout))

    def _answered(self, code: int, text: str) -> Response:
        if not 200 <= code < 600:
            return self._reader.failed(Reason.CONNECTION, f"no answer of SMTP: {text}")
        return self._reader.read(code, {}, text.encode(errors="surrogateescape"))

    def _with_refused(
        self, response: Response, refused: Sequence[SMTPRecipientRefused]
    ) -> Response:
        """Say who does not get the mail, in the log and in the result."""
        shown = [
            f"{each.recipient}: {each.code} {_MULTILINE.sub(' ', each.message)}"
            for each in refused[:SHOWN_REFUSALS]
        ]
        count = f"{len(refused)} of {len(self._to.recipients)} recipients refused"
        error = self._reader.describe(f"{count}: {'; '.join(shown)}")
        log.warning("email.recipients_refused", server=self._to.endpoint, error=error)
        return replace(response, error=error)


async def _log_in(client: SMTP, username: str, password: str) -> None:
    """Log in, by one method only: servers count failures, and lock out clients with many."""
    offered = client.server_auth_methods
    if "plain" in offered:
        await client.auth_plain(username, password)
    elif "login" in offered:
        await client.auth_login(username, password)
    elif "cram-md5" in offered:
        await client.auth_crammd5(username, password)
    else:
        raise _Unable(Reason.REFUSED, "the server offers no login that relay knows")


async def _quit(client: SMTP) -> None:
    with suppress(SMTPException, OSError):
        await client.quit(timeout=QUIT_TIMEOUT_S)


def _local_name(connection: socket.socket) -> str:
    """Return how relay introduces itself: the host's full name, else its address.

    RFC 5321, section 4.1.4. Nothing is looked up, since that may hang.
    """
    name = socket.gethostname()
    if _FULL_NAME.fullmatch(name):
        return name
    address = ip_address(connection.getsockname()[0].partition("%")[0])
    return f"[{address}]" if address.version == 4 else f"[IPv6:{address}]"
