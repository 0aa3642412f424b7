"""What goes over the wire to a destination, what comes back, and what that means."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


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


class Reason(StrEnum):
    """Why an attempt ended as it did: the same word in logs, metrics and commands."""

    OK = "ok"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    """No connection, or it broke: name not found, refused, reset, TLS."""
    STATUS = "status"
    """An answer came, and its status is not 2xx."""
    EXPIRED = "expired"
    """It was tried for as long as ``retry.max_age`` allows."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The destination took it."""

    reason: Reason = Reason.OK


@dataclass(frozen=True, slots=True)
class Retry:
    """It is tried again, ``after_s`` seconds from now."""

    after_s: float
    reason: Reason


@dataclass(frozen=True, slots=True)
class Dead:
    """It is given up and kept."""

    reason: Reason


Outcome = Delivered | Retry | Dead


def kind(outcome: Outcome) -> str:
    """The outcome in one word for logs and metrics: ``delivered``, ``retry`` or ``dead``."""
    return type(outcome).__name__.lower()
