"""An SMTP server on loopback, which answers as a test configures it, and keeps the mails."""

import asyncio
import email
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

OK = "250 2.0.0 taken"


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail, as it arrived."""

    sender: str
    recipients: list[str]
    raw: bytes
    options: list[str]
    is_encrypted: bool
    user: str | None

    @property
    def message(self) -> EmailMessage:
        """The mail, parsed."""
        parsed = email.message_from_bytes(self.raw, policy=default)
        assert isinstance(parsed, EmailMessage)
        return parsed


@dataclass
class MailServer:
    """What the server answers, and what it got. It takes everything until a test sets another
    answer."""

    mails: list[Mail] = field(default_factory=list)
    """Those that were taken, and those whose answer was lost."""
    attempts: int = 0
    """How many mails were sent as far as their recipients."""
    greeting: str | None = None
    """What it says instead of a greeting, before it closes the connection."""
    answer: Callable[[Mail], str] = lambda _: OK
    """What it says to a mail; an empty text closes the connection without an answer."""
    answer_recipient: Callable[[str], str] = lambda _: "250 2.1.5 ok"
    hangs: bool = False
    """Whether it is silent after a mail."""
    logins: list[tuple[str, str]] = field(default_factory=list)
    """User and password of each attempt to log in, with the method."""
    password: str | None = None
    """The password that it takes; None if nobody has to log in."""
    port: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's names)
        self, _: SMTP, __: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.answer_recipient(address)
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options += options
        return answer

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        assert server.transport is not None
        user = session.auth_data if isinstance(session.auth_data, str) else None
        mail = Mail(
            envelope.mail_from or "",
            envelope.rcpt_tos,
            envelope.content,
            envelope.mail_options,
            server.transport.get_extra_info("sslcontext") is not None,
            user,
        )
        self.attempts += 1
        answer = self.answer(mail)
        if not answer.startswith(("4", "5")):
            self.mails.append(mail)
        self.arrived.set()
        if self.hangs:
            await asyncio.Event().wait()
        if not answer:
            server.transport.close()
        return answer

    def authenticate(
        self, _: SMTP, __: Session, ___: Envelope, ____: str, data: LoginPassword
    ) -> AuthResult:
        """Check user and password."""
        user, password = data.login.decode(), data.password.decode()
        self.logins.append((user, password))
        return AuthResult(success=password == self.password, handled=False, auth_data=user)


class _Protocol(SMTP):
    def __init__(self, server: MailServer, **options: object) -> None:
        super().__init__(
            server,
            hostname="mail.test",
            authenticator=server.authenticate,
            loop=asyncio.get_running_loop(),
            **options,  # type: ignore[arg-type]
        )
        self._greeting = server.greeting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._greeting is None:
            super().connection_made(transport)
            return
        assert isinstance(transport, asyncio.Transport)
        transport.write(f"{self._greeting}\r\n".encode())
        transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._greeting is None:
            super().connection_lost(error)

    def eof_received(self) -> bool | None:
        return super().eof_received() if self._greeting is None else None


@asynccontextmanager
async def serving_mail(
    tls: ssl.SSLContext | None = None,
    *,
    implicit_tls: bool = False,
    utf8: bool = True,
    port: int = 0,
    server: MailServer | None = None,
) -> AsyncIterator[MailServer]:
    """Serve on 127.0.0.1. With ``tls`` it offers STARTTLS, or speaks TLS from the beginning."""
    server = server or MailServer()
    options: dict[str, object] = {"enable_SMTPUTF8": utf8}
    if tls is not None and not implicit_tls:
        options |= {"tls_context": tls, "require_starttls": True}
    if tls is None or implicit_tls:
        options["auth_require_tls"] = False
    listening = await asyncio.get_running_loop().create_server(
        lambda: _Protocol(server, **options),
        "127.0.0.1",
        port,
        ssl=tls if implicit_tls else None,
        family=socket.AF_INET,
    )
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
