"""What goes over the wire to a destination, what comes back, and what that means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec


@dataclass(frozen=True, slots=True)
class Request:
    """What a format renders and a sender sends. Its repr shows none of it: all may be secret."""

    body: bytes = field(repr=False)
    url: str = field(default="", repr=False)
    """Empty where the destination is not a URL (the terminal)."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    method: str = "POST"
    """With ``GET`` the body is empty."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a sender got: an answer with a status, or a failure to get one."""

    status: int | None
    """The HTTP status; for a terminal 200; None where no answer came."""
    body: bytes = b""
    """At most the first 4 KiB of the answer."""
    failure: "Reason | None" = None
    """Why no answer came; None where one did."""
    error: str | None = None
    """The failure in words that hold no secret, for the log."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """What the answer's headers say of limits, by names in small letters."""

    @property
    def answer(self) -> "Answer":
        """What is kept of it."""
        return Answer(self.status, self.body.decode(errors="replace"), self.error)


class Answer(msgspec.Struct, frozen=True):
    """What a destination said last, as it is kept with a delivery; it holds no secret."""

    status: int | None
    """None where no answer came."""
    text: str = ""
    """Its body, or the beginning of that."""
    error: str | None = None
    """What failed, in words."""


class Reason(StrEnum):
    """Why an attempt ended as it did: the same word in logs, metrics and commands."""

    OK = "ok"
    TIMEOUT = "timeout"
    NAME_NOT_FOUND = "name_not_found"
    """The host has no address."""
    TLS = "tls"
    """No secure connection: the certificate is not accepted, or it is no TLS at all."""
    CONNECTION = "connection"
    """No connection, or it broke: refused, reset, closed without an answer."""
    RATE_LIMITED = "rate_limited"
    """It takes no more for now (429)."""
    UNAVAILABLE = "unavailable"
    """It cannot take it now: 408, 425, 5xx, and what is no HTTP status."""
    GONE = "gone"
    """It wants no more, ever (410)."""
    REDIRECT = "redirect"
    """It sends elsewhere (3xx), which is not followed."""
    REFUSED = "refused"
    """It does not take this (4xx)."""
    REJECTED = "rejected"
    """It says so in the body of an answer whose status is 2xx."""
    EXPIRED = "expired"
    """It was tried for as long as ``retry.max_age`` allows."""
    ATTEMPTS = "attempts"
    """It was tried as often as ``retry.max_attempts`` allows."""
    DESTINATION_REMOVED = "destination_removed"
    """Its destination was taken out of the configuration."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination took it."""

    reason: Reason = Reason.OK
    pause_s: float = 0.0
    """So long it wants no more."""


@dataclass(frozen=True, slots=True)
class Retry:
    """It is tried again, ``after_s`` seconds from now."""

    after_s: float
    reason: Reason
    pause_s: float = 0.0
    """So long nothing is to be sent to the destination at all."""


@dataclass(frozen=True, slots=True)
class Dead:
    """It is given up and kept."""

    reason: Reason
    last_reason: Reason | None = None
    """What the last attempt came to, where it is given up for its age or its attempts."""
    pause_s: float = 0.0
    """As of `Retry`."""


Outcome = Delivered | Retry | Dead


def outcome_kind(outcome: Outcome) -> str:
    """The outcome in one word for logs and metrics: ``delivered``, ``retry`` or ``dead``."""
    return type(outcome).__name__.lower()
