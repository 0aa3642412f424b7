"""Messages for a Pushover application, sent to a user or a group.

https://pushover.net/api describes parameters, limits and responses; the sections quoted below are
on that page.

A message is plain text: relay never asks for ``html`` or ``monospace``. The link of the
configuration is its supplementary URL ("Supplementary URLs"). But Pushover's clients turn every
address in a message into a link ("Pushing Messages"). How relay prevents that is described in
`relay.destinations.common.plain_text`.
"""

from datetime import timedelta
from typing import Annotated, Literal

import msgspec
from pydantic import Field, SecretStr, ValidationInfo, field_validator

from relay.config.errors import invalid
from relay.config.types import Duration, WebhookUrl, WholeNumber, at_least, at_most
from relay.core.exchange import NO_HINT, Request, Response, ResponseHint
from relay.core.severity import Severity
from relay.core.text import utf16_length
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.plain_text import TextLimits, render_plain_text
from relay.destinations.common.responses import (
    parse_date_s,
    parse_number,
    parse_object,
    without,
)
from relay.destinations.common.service import ServiceDestination, text_matching

# Pushover's limits, in characters: "Limitations". relay counts UTF-16 units, which are never fewer.
MESSAGE_MAX = 1_024
TITLE_MAX = 250

LINK_CHARS_MAX = 512
"""A supplementary URL. Its title may have 100, more than a `Card.link_label`."""

HEADLINE_MAX = 200
"""Our own limit, in UTF-16 units."""
LIMITS = TextLimits(
    size=utf16_length,
    value=70,
    custom_text=360,
    inspect=440,
    output={LOGS: 20, HEALTH: 20},
    notes=90,
)
"""Our own limits. They keep nearly every message within `MESSAGE_MAX`. The limits of the container
output are raised by what the other parts leave of it."""
SHORT_VALUE_MAX = 24
"""The limit of each fact in a message that would be too long."""

CONCURRENCY = 2
"""The most connections that Pushover allows: "Being Friendly to our API"."""
RETRY_S = 5.0
"""The shortest wait after a 5xx, in seconds: "Being Friendly to our API"."""

# Priority -1 makes no sound, 0 makes one, and 1 makes one even in the user's quiet hours:
# "Message Priority".
_PRIORITIES = {Severity.CRITICAL: 1, Severity.WARNING: 0, Severity.INFO: -1}
_PRIORITY_RESOLVED = -1
_EMERGENCY = 2
_DEFAULT_EMERGENCY = timedelta(hours=1)

_KEY = r"[A-Za-z0-9]{30}"
"""A token, a user key or a group key: "Application Registration", "Users, Groups, and Devices"."""
_DEVICE = r"[A-Za-z0-9_-]{1,25}"

Token = Annotated[
    SecretStr,
    text_matching(_KEY, "is not the token of an application: it has 30 letters and digits"),
]
Users = Annotated[
    SecretStr,
    text_matching(
        rf"{_KEY}(,{_KEY}){{0,49}}",
        "is not the key of a user or a group: it has 30 letters and digits "
        "(up to 50 keys with a comma between them)",
    ),
]
Devices = Annotated[
    str,
    text_matching(
        rf"{_DEVICE}(,{_DEVICE})*",
        "is not the name of a device: take letters, digits, '-' and '_', at most 25",
    ),
]
Sound = Annotated[
    str, text_matching(r"[A-Za-z0-9_-]{1,64}", "is not the name of a sound, as in siren")
]


class PushoverDestination(ServiceDestination):
    """A Pushover application."""

    public_keys = ServiceDestination.public_keys | {
        *("device", "sound", "ttl", "emergency_every", "emergency_for"),
    }
    link_max = LINK_CHARS_MAX
    limit_headers = ("x-limit-app-remaining", "x-limit-app-reset")

    own_urls = r"https://api\.pushover\.net/"

    type: Literal["pushover"] = "pushover"
    url: WebhookUrl = SecretStr("https://api.pushover.net/1/messages.json")
    concurrency: Annotated[WholeNumber, Field(ge=1, le=CONCURRENCY)] = CONCURRENCY
    """How many requests may be sent at the same time: at most 2, as Pushover allows."""
    token: Token
    """The API token of the application."""
    user: Users
    """The key of a user or a group, or up to 50 keys with a comma between them."""
    device: Devices | None = None
    """The name of a device, or several with a comma between them. Default: all of the user's."""
    sound: Sound | None = None
    """The name of a sound. Default: the one that the user chose."""
    ttl: Annotated[Duration, at_least("1s")] | None = None
    """How long devices keep the message, unless it is an emergency. Default: for ever."""
    emergency_every: Annotated[Duration, at_least("30s")] | None = None
    """How often Pushover repeats a critical notification until somebody acknowledges it: at least
    30s. Default: never."""
    emergency_for: Annotated[Duration, at_least("30s"), at_most("3h")] | None = Field(
        default=None, validate_default=True
    )
    """For how long Pushover repeats it: at most 3h, and at most 50 times; not shorter than
    ``emergency_every``. Default: 1h."""

    @field_validator("emergency_for")
    @classmethod
    def _check_emergency_for(
        cls, value: timedelta | None, info: ValidationInfo
    ) -> timedelta | None:
        every = info.data.get("emergency_every")
        if value is not None and every is None:
            raise invalid("'emergency_for' has no effect without 'emergency_every'")
        if every is not None and (value or _DEFAULT_EMERGENCY) < every:
            raise invalid("'emergency_for' is shorter than 'emergency_every'")
        return value

    @property
    def recipient(self) -> str:
        """The application: all its messages share one quota."""
        return self.token.get_secret_value()

    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events."""
        message: dict[str, object] = {
            "token": self.token.get_secret_value(),
            "user": self.user.get_secret_value(),
            "title": f"{card.emoji} {card.title(HEADLINE_MAX)}",
            "message": _message(card),
            "timestamp": card.time_ns // 1_000_000_000,
            **self._priority(card),
        }
        if card.link:
            message |= {"url": card.link, "url_title": card.link_label}
        if self.device is not None:
            message["device"] = self.device
        if self.sound is not None:
            message["sound"] = self.sound
        return self.json_request(message)

    def _priority(self, card: Card) -> dict[str, int]:
        priority = _PRIORITY_RESOLVED if card.is_resolved else _PRIORITIES[card.severity]
        if self.emergency_every is not None and priority == _PRIORITIES[Severity.CRITICAL]:
            every_s = _seconds(self.emergency_every)
            for_s = _seconds(self.emergency_for or _DEFAULT_EMERGENCY)
            return {"priority": _EMERGENCY, "retry": every_s, "expire": for_s}
        ttl = {} if self.ttl is None else {"ttl": _seconds(self.ttl)}
        return {"priority": priority, **ttl}

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Read the ``status`` in the body, and when the application's quota is renewed.

        A success is ``"status": 1`` ("Response Format").

        After a 5xx, or without an answer, Pushover asks clients to wait `RETRY_S`.
        """
        if response.status is None or response.status >= 500:
            return ResponseHint(retry_after_s=RETRY_S)
        if response.status == 429:
            return ResponseHint(retry_after_s=_quota_wait_s(response))
        match parse_object(response.body):
            case {"status": 1}:
                is_last = response.headers.get("x-limit-app-remaining") == "0"
                return ResponseHint(retry_after_s=_quota_wait_s(response)) if is_last else NO_HINT
            case {"status": int()}:
                return ResponseHint(is_rejected=True)
        return without(response, '"status": 1')


def _message(card: Card) -> str:
    """Return the text of a message. Container output gets what the other parts leave."""
    limits, shortest = LIMITS, render_plain_text(card, LIMITS)
    if utf16_length(shortest) > MESSAGE_MAX:
        limits = msgspec.structs.replace(LIMITS, value=SHORT_VALUE_MAX)
        shortest = render_plain_text(card, limits)
    # The full limits of the output are subtracted, even if it took less: with higher limits it may
    # take all of them.
    free = MESSAGE_MAX - utf16_length(shortest) - sum(LIMITS.output.values())
    if not card.output or free <= 0:
        return shortest
    share = free // len(card.output)
    output = {title: limit + share for title, limit in LIMITS.output.items()}
    return render_plain_text(card, msgspec.structs.replace(limits, output=output))


def _quota_wait_s(response: Response) -> float | None:
    """Return the seconds until ``X-Limit-App-Reset``, by the clock of the server."""
    reset_s = parse_number(response.headers.get("x-limit-app-reset"))
    now_s = parse_date_s(response.headers.get("date", ""))
    return None if reset_s is None or now_s is None else max(0.0, reset_s - now_s)


def _seconds(duration: timedelta) -> int:
    return max(1, duration // timedelta(seconds=1))
