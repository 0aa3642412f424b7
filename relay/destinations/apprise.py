"""The services of Apprise (https://github.com/caronc/apprise), of which there are a hundred.

The message is plain text. Apprise escapes it for services that take HTML or Markdown, but what a
service itself makes of plain text is not known: so in what others chose a zero-width space breaks
links (see `relay.destinations.common.plain_text`) and mentions, and ``<`` and ``>`` are replaced.
"""

import re
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

import msgspec
from pydantic import Field, SecretStr, ValidationInfo, field_validator

from relay.config.destination import TimeoutConfig, Transport
from relay.config.errors import invalid
from relay.config.types import Duration, WholeNumber, check_content
from relay.config.validators import reject_paste_mistake, require_package
from relay.core.exchange import Request
from relay.core.severity import Severity
from relay.core.text import ZERO_WIDTH_SPACE, utf16_length
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.plain_text import TextLimits, break_links, render_plain_text
from relay.destinations.common.service import MessageDestination

# Our own limits, in UTF-16 units. Apprise cuts what is too long for its service.
TITLE_MAX = 200
LIMITS = TextLimits(
    size=utf16_length,
    value=500,
    custom_text=3_000,
    inspect=2_400,
    output={LOGS: 2_000, HEALTH: 1_000},
    notes=500,
)

_TYPES = {Severity.CRITICAL: "failure", Severity.WARNING: "warning", Severity.INFO: "info"}
_TYPE_RESOLVED = "success"
_OWN_LINK = re.compile(r"(https?://\S+)")
"""A link that was not broken: it is from the configuration."""
_MARKUP = str.maketrans({"<": "‹", ">": "›", "@": f"@{ZERO_WIDTH_SPACE}"})
_PARTS = re.compile(r"[/:@?&=#,;+]+")


def _check_url(text: str) -> None:
    reject_paste_mistake(text)
    if " " in text or not re.match(r"[a-zA-Z0-9]+://.", text):
        raise ValueError("is not a URL of Apprise, as in json://example.com/hook")


class Message(msgspec.Struct, frozen=True):
    """What Apprise gets."""

    title: str
    body: str
    type: str
    """``failure``, ``warning``, ``info`` or ``success``."""


class AppriseTimeoutConfig(TimeoutConfig):
    """How long one attempt may take. Many services pause between two requests."""

    total: Duration = Field(default=timedelta(seconds=30), validate_default=True)
    """Time until Apprise says whether the message was taken; not shorter than ``connect``."""


class AppriseDestination(MessageDestination):
    """A service of Apprise."""

    transport = Transport.APPRISE
    public_keys = MessageDestination.public_keys | {"timeout"}

    type: Literal["apprise"] = "apprise"
    url: Annotated[SecretStr, check_content(_check_url)]
    """One URL of Apprise (https://appriseit.com/services/). All of it but its scheme is secret."""
    timeout: AppriseTimeoutConfig = AppriseTimeoutConfig()
    concurrency: Annotated[WholeNumber, Field(ge=1, le=16)] = 1
    """How many messages may be sent at the same time, each in a thread; those about one container
    never are."""

    @property
    def shown_address(self) -> str:
        """The scheme of the URL."""
        return f"{self.url.get_secret_value().partition('://')[0]}://…"

    @property
    def derived_secrets(self) -> Iterator[str]:
        """Every part of the URL, as written and decoded, and its user as HTTP sends it."""
        url = self.url.get_secret_value()
        rest = url.partition("://")[2]
        yield from (rest, unquote(rest))
        for part in _PARTS.split(rest):
            yield from (part, unquote(part))
        user, _, _ = urlsplit(f"//{rest}").netloc.rpartition("@")
        yield b64encode(unquote(user).encode()).decode()

    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events."""
        title = break_links(card.title_pieces(TITLE_MAX))
        message = Message(
            title=_defuse(f"{card.emoji} {title}"),
            body=_defuse(render_plain_text(card, LIMITS, with_link=True)),
            type=_TYPE_RESOLVED if card.is_resolved else _TYPES[card.severity],
        )
        return Request(msgspec.json.encode(message))

    @field_validator("type")
    @classmethod
    def _check_installed(cls, value: str) -> str:
        require_package("apprise", "apprise")
        return value

    @field_validator("url")
    @classmethod
    def _check_service(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        if "type" not in info.data:  # Apprise is not installed, which is reported already
            return value
        # imported here: it takes a second, which a schema of all types must not
        from relay.destinations.common.apprise_service import find_fault  # noqa: PLC0415

        if fault := find_fault(value.get_secret_value()):
            raise invalid(fault)
        return value


def _defuse(text: str) -> str:
    """Return a text without mentions and tags, in which links of the configuration stay."""
    parts = _OWN_LINK.split(text)
    return "".join(part if at % 2 else part.translate(_MARKUP) for at, part in enumerate(parts))
