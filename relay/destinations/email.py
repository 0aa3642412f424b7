"""Mail, by way of an SMTP server (RFC 5321).

A mail says the same in plain text and in HTML, below its subject, which is the headline. Its
``Message-ID`` is made of the notification's id, so every attempt has the same one and a mailbox can
drop repetitions. Its ``References`` (RFC 5322, section 3.6.4) name its incidents, so all mails
about an incident are in one thread. The sender adds the ``Date``, which is that of the attempt.

Names, labels and images are hostile. Each is printable and on one line, so none begins a header;
in HTML they are escaped, and in both texts a zero-width space breaks what a mail program would turn
into a link (see `relay.destinations.common.plain_text`). Only links of the configuration are links.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo
from pydantic import field_validator as validates

from relay.config import validators
from relay.config.destination import (
    OnTemplateError,
    Renderer,
    RouteTexts,
    TimeoutConfig,
    TlsConfig,
    Transport,
)
from relay.config.errors import invalid
from relay.config.section import Schema
from relay.config.types import HeaderValue, Secret, WholeNumber, as_list
from relay.core.exchange import NO_HINT, Request, Response, ResponseHint
from relay.core.incident import UpdateReason
from relay.core.notification import Notification
from relay.core.severity import Severity
from relay.core.text import utf16_length
from relay.core.zone import TimeZone
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.envelope import ValueTemplates
from relay.destinations.common.html_text import render_html
from relay.destinations.common.mail_headers import (
    CRLF,
    FOLD,
    Mailbox,
    encode_headers,
    parse_mailbox,
    plain_id,
    replace_headers,
)
from relay.destinations.common.pieces import PieceKind, join
from relay.destinations.common.plain_text import TextLimits, break_links, render_plain_text
from relay.destinations.common.service import MessageDestination

# Our own limits, in UTF-16 units: together they stay far below the 102 KB or so after which Gmail
# shows the rest of a mail on a page of its own.
SUBJECT_MAX = 200
LIMITS = TextLimits(
    size=utf16_length,
    value=500,
    custom_text=4_000,
    inspect=2_400,
    output={LOGS: 4_000, HEALTH: 1_000},
    notes=500,
)
DATE_ZONE = "time-zone"
"""The header of a request, not of a mail, that names the time zone of the mail's date. The date
itself is that of the attempt."""
REFERENCES_MAX = 20
"""Our own limit for the incidents that a mail refers to."""
RECIPIENTS_MAX = 50
"""Our own limit; RFC 5321, section 4.5.3.1.8, has every server take 100."""
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
"""RFC 6409, section 3.1; RFC 8314, section 3.3; RFC 5321."""

_PRIORITIES: Mapping[Severity, Mapping[str, str]] = {
    Severity.CRITICAL: {"Importance": "high", "X-Priority": "1"},
    Severity.WARNING: {},
    Severity.INFO: {"Importance": "low", "X-Priority": "5"},
}
"""``Importance`` is that of RFC 2156, section 5.3.4; older programs read ``X-Priority``."""
_AUTOMATIC = {"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All"}
"""So that nobody's absence is answered: RFC 3834, section 5, and Exchange's own
(https://learn.microsoft.com/openspecs/exchange_server_protocols/ms-oxcmail)."""

_HEADER_NAME = re.compile(r"[!-9;-~]{1,76}")
"""RFC 5322, section 2.2."""
_RESERVED_HEADERS = frozenset(
    {"from", "sender", "to", "cc", "bcc", "subject", "date", "message-id", "in-reply-to"}
    | {"references", "mime-version", "received", "return-path", "dkim-signature"}
)
_RESERVED_PREFIXES = ("content-", "resent-")
# What SMTP's codes mean, as the statuses of HTTP that `relay.delivery.retry` knows. The second
# digit does not matter: RFC 5321, section 4.2.1.
_BUSY = 429
"""421: the server closes the connection, mostly because there are too many; 450: the mailbox does
not take mail now, which is how servers limit rates and delay unknown senders (greylisting)."""
_LOGIN_REFUSED = 401
"""530, 534, 535, 538: RFC 4954, section 6."""
_REFUSED = 406
_UNAVAILABLE = 503


def _check_mailbox(text: str) -> str:
    parse_mailbox(text)
    return text


def _check_header_name(text: str) -> str:
    if not _HEADER_NAME.fullmatch(text):
        raise ValueError("is not the name of a header")
    if text.lower() in _RESERVED_HEADERS or text.lower().startswith(_RESERVED_PREFIXES):
        raise ValueError("is a header that relay sets itself")
    return text


_MailboxText = Annotated[str, AfterValidator(_check_mailbox)]
_MailHeader = Annotated[str, AfterValidator(_check_header_name)]
_LOGIN_RULE: Schema = {
    "if": {"required": ["username"]},
    "then": {"anyOf": [{"required": ["password"]}, {"required": ["password_file"]}]},
}


class EmailDestination(MessageDestination):
    """Mail, by way of an SMTP server."""

    transport = Transport.SMTP
    public_keys = MessageDestination.public_keys | {
        *("host", "port", "security", "username", "sender", "recipients", "timeout", "tls")
    }
    schema_rules = (_LOGIN_RULE,)

    type: Literal["email"] = "email"
    host: Annotated[str, AfterValidator(validators.check_host)]
    """The SMTP server that takes the mail."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """``starttls``: the connection is encrypted before anything is sent, or nothing is sent;
    ``tls``: encrypted from its beginning; ``none``: never encrypted."""
    port: Annotated[WholeNumber, Field(ge=1, le=65535)] | None = None
    """Default: 587 with ``starttls``, 465 with ``tls``, 25 with ``none``."""
    username: Annotated[str, AfterValidator(validators.check_header_value)] | None = None
    """The user to log in as; needs ``password``. Without it relay does not log in."""
    password: Secret | None = Field(default=None, validate_default=True)
    """The user's password. It is never sent over a connection that is not encrypted, except to
    this machine."""
    sender: _MailboxText
    """The address that the mail is from: ``relay@example.com`` or ``relay <relay@example.com>``."""
    recipients: Annotated[tuple[_MailboxText, ...], BeforeValidator(as_list)]
    """An address, or a list of up to 50. All get the same mail, and see each other's addresses."""
    headers: dict[_MailHeader, HeaderValue] = Field(default_factory=dict)
    """Headers to add, such as ``Reply-To``; values may be templates."""
    timeout: TimeoutConfig = TimeoutConfig()
    tls: TlsConfig | None = None
    """The certificates for ``starttls`` and ``tls``."""
    concurrency: Annotated[WholeNumber, Field(ge=1, le=256)] = 2
    """How many connections may be open at the same time, each for one mail. Mails about one
    container are never sent at the same time."""

    @property
    def smtp_port(self) -> int:
        """The port of the server."""
        return self.port or _PORTS[self.security]

    @property
    def endpoint(self) -> str:
        """The server as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'smtps' if self.security == 'tls' else 'smtp'}://{host}:{self.smtp_port}"

    @property
    def tls_config(self) -> TlsConfig | None:
        """The certificates to use; None for those of the system."""
        return self.tls

    @property
    def derived_secrets(self) -> Iterator[str]:
        """User and password as ``AUTH PLAIN`` and ``AUTH LOGIN`` send them (RFC 4616)."""
        if self.password is not None:
            password = self.password.get_secret_value()
            yield b64encode(password.encode()).decode()
            yield b64encode(f"\0{self.username}\0{password}".encode()).decode()

    @property
    def mail_from(self) -> Mailbox:
        """The ``sender``."""
        return parse_mailbox(self.sender)

    @property
    def mail_to(self) -> Sequence[Mailbox]:
        """The ``recipients``."""
        return [parse_mailbox(text) for text in self.recipients]

    @property
    def needs_utf8(self) -> bool:
        """Whether the server has to know SMTPUTF8, because an address is not ASCII."""
        return any(mailbox.needs_utf8 for mailbox in (self.mail_from, *self.mail_to))

    def build_renderer(
        self,
        routes: Sequence[RouteTexts],
        on_template_error: OnTemplateError,
        *,
        colour: bool,
        zone: TimeZone,
    ) -> Renderer:
        """See `DestinationConfig`. The repr of the renderer shows no secret."""
        headers = ValueTemplates("headers", self.headers, on_template_error, zone)
        render = super().build_renderer(routes, on_template_error, colour=colour, zone=zone)

        def render_with_headers(notification: Notification) -> Request:
            request = render(notification)
            added = headers.render(notification)
            if not added:
                return request
            return Request(replace_headers(request.body, added), request.url, request.headers)

        return render_with_headers

    def render(self, card: Card) -> Request:
        """Return the mail about the first event, with the number of further events."""
        title = card.title_pieces(SUBJECT_MAX)
        notification = card.notification
        mail = EmailMessage(SMTPUTF8 if self.needs_utf8 else SMTP.clone(cte_type="7bit"))
        mail["From"] = _to_header(self.mail_from)
        mail["To"] = [_to_header(mailbox) for mailbox in self.mail_to]
        # A subject has no links: a headline with one of the configuration stands in the text, too.
        heading = title if any(kind is PieceKind.LINK for kind, _ in title) else ()
        parts = (break_links(heading), render_plain_text(card, LIMITS, with_link=True))
        mail.set_content("\n\n".join(filter(None, parts)) + "\n")
        mail.add_alternative(render_html(card, heading, LIMITS), subtype="html")
        mail.set_boundary(f"=_{plain_id(notification.id)}")  # "=_" is in no quoted-printable text
        priority = _PRIORITIES[Severity.INFO if card.is_resolved else card.severity]
        headers = encode_headers({"Subject": join(title), **_AUTOMATIC, **priority})
        content = self._make_ids(notification) + headers + mail.as_bytes()
        return Request(content, self.endpoint, {DATE_ZONE: card.zone.name})

    def _make_ids(self, notification: Notification) -> bytes:
        """Return the headers that identify the mail and its thread."""
        ids = [("Message-ID", [notification.id]), *_find_thread(notification)]
        lines = [f"{name}: {FOLD.join(map(self._message_id, each))}{CRLF}" for name, each in ids]
        return "".join(lines).encode()

    def _message_id(self, id_: str) -> str:
        return f"<{plain_id(id_)}@{self.mail_from.domain}>"

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Read the code of an SMTP answer: 4yz is temporary, 5yz is for ever."""
        match response.status:
            case None:
                return NO_HINT
            case 421 | 450:
                return ResponseHint(status=_BUSY)
            case 530 | 534 | 535 | 538:
                return ResponseHint(status=_LOGIN_REFUSED)
            case code if 200 <= code < 300:
                return NO_HINT
            case code if 500 <= code < 600:
                return ResponseHint(status=_REFUSED)
            case _:
                return ResponseHint(status=_UNAVAILABLE)

    @validates("type")
    @classmethod
    def _check_installed(cls, value: str) -> str:
        validators.require_package("aiosmtplib", "email")
        return value

    @validates("password")
    @classmethod
    def _check_login(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if "username" in info.data and (info.data["username"] is None) != (value is None):
            raise invalid("'username' and 'password' go together: write both or neither")
        host = info.data.get("host")
        if (
            value is not None
            and host
            and info.data.get("security") == "none"
            and not _is_here(host)
        ):
            raise invalid(
                "would be sent without encryption: remove 'security: none', or log in to a server "
                "on this machine"
            )
        return value

    @validates("recipients")
    @classmethod
    def _check_recipients(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not 1 <= len(value) <= RECIPIENTS_MAX:
            raise invalid(f"needs 1 to {RECIPIENTS_MAX} addresses")
        return value

    @validates("headers")
    @classmethod
    def _check_headers(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        validators.check_distinct_headers(value)
        return value

    @validates("tls")
    @classmethod
    def _check_tls(cls, value: TlsConfig | None, info: ValidationInfo) -> TlsConfig | None:
        if value is not None and info.data.get("security") == "none":
            raise invalid("is not for 'security: none'")
        return value


def _is_here(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _to_header(mailbox: Mailbox) -> Address:
    return Address(mailbox.name, mailbox.local, mailbox.domain)


def _find_thread(notification: Notification) -> list[tuple[str, Sequence[str]]]:
    """Return the headers that put a mail into the thread of its incidents, with their ids.

    The beginning of each thread is the id of an incident, which is no mail. The oldest incident is
    first, so all mails name them in the same order. A reminder of many incidents is in no thread:
    it would join all of theirs.
    """
    update = notification.update
    if update is None or not update.incidents:
        return []
    if update.reason is UpdateReason.REMINDER and len(update.incidents) + update.more > 1:
        return []
    oldest = sorted(update.incidents, key=lambda each: (each.started_ns, each.id))[:REFERENCES_MAX]
    reported = [each.id for each in oldest if each.notified_before]
    headers: list[tuple[str, Sequence[str]]] = [("References", [each.id for each in oldest])]
    return [*headers, ("In-Reply-To", reported)] if reported else headers
