"""The parts of a mail that stand in its headers: addresses, ids, and hostile texts."""

import hashlib
import re
from collections.abc import Mapping
from email.header import Header

import msgspec

from relay.config import validators

MAILBOX_MAX = 254
"""The longest address: RFC 5321, section 4.5.3.1.3, less the angle brackets."""

_MAILBOX = re.compile(
    r"(?:(?P<name>[^<>\x00-\x1f\x7f]*?) *<)?"
    r"(?P<local>[^\s<>@\",;:()\[\]\\\x00-\x1f\x7f]{1,64})@(?P<domain>[\w.-]+)(?(name)>)"
)
CRLF = "\r\n"
FOLD = "\r\n "
"""A line end within a header: RFC 5322, section 2.2.3."""
_WORD_MAX = 60
"""A longer word in a header is encoded, since a line can only be folded between words."""
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Mailbox(msgspec.Struct, frozen=True):
    """An address, with the name that mail programs show."""

    name: str
    local: str
    domain: str
    """In ASCII."""

    @property
    def address(self) -> str:
        """The address as SMTP has it."""
        return f"{self.local}@{self.domain}"

    @property
    def needs_utf8(self) -> bool:
        """Whether the server has to know SMTPUTF8 (RFC 6531)."""
        return not self.local.isascii()


def parse_mailbox(text: str) -> Mailbox:
    """Parse ``user@example.com`` or ``Name <user@example.com>``. Raises `ValueError`."""
    found = _MAILBOX.fullmatch(text)
    if found is None:
        validators.reject_paste_mistake(text)
        raise ValueError("is not an address, as in ops@example.com or 'relay <ops@example.com>'")
    name = (found["name"] or "").strip().strip('"')
    try:
        domain = found["domain"].encode("idna").decode()
    except UnicodeError:
        raise ValueError("has a domain that cannot exist") from None
    if len(found["local"].encode()) + len(domain) >= MAILBOX_MAX or not name.isprintable():
        raise ValueError("is too long, or holds what does not print")
    return Mailbox(name, found["local"], domain)


def plain_id(text: str) -> str:
    """Return an id as it may stand in a header: relay's own ids stay as they are."""
    if _PLAIN_ID.fullmatch(text):
        return text
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """Return headers whose values are printable, encoded and folded (RFC 2047).

    The values are hostile. A value that looks like an encoded word is encoded itself: mail programs
    would decode it, with any line breaks in it, and so does `EmailMessage`.
    """
    lines = []
    for name, value in headers.items():
        is_plain = value.isascii() and "=?" not in value
        is_plain = is_plain and all(len(word) <= _WORD_MAX for word in value.split(" "))
        encoded = Header(value, "us-ascii" if is_plain else "utf-8", header_name=name)
        text = encoded.encode(splitchars=" ", linesep=CRLF)
        lines.append(f"{name}: {text}{CRLF}".encode())
    return b"".join(lines)


def replace_headers(mail: bytes, added: Mapping[str, str]) -> bytes:
    """Return a mail with headers of the configuration, which replace relay's own."""
    head, separator, body = mail.partition(b"\r\n\r\n")
    names = "|".join(map(re.escape, added)).encode()
    own = re.sub(rb"(?im)^(?:%s):.*(?:\r\n[ \t].*)*\r\n" % names, b"", head + b"\r\n")
    return encode_headers(added) + own + separator[2:] + body
