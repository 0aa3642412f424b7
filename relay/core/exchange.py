"""What relay sends to a destination, what the destination answers, and what the answer means."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol, runtime_checkable

import msgspec


class Request(msgspec.Struct, frozen=True):
    """A rendered notification, ready to send. Its repr shows nothing: all of it may be secret."""

    body: bytes
    url: str = ""
    """Empty if the destination has no URL (the console)."""
    headers: Mapping[str, str] = {}
    method: str = "POST"
    """With ``GET`` the body is empty."""

    def __repr__(self) -> str:
        return f"Request(method={self.method!r})"


class ResponseHint(msgspec.Struct, frozen=True):
    """What a response says in its body or its headers, beside its status."""

    status: int | None = None
    """The status that the response should have; None if it has the right one."""
    is_rejected: bool = False
    """Whether it says that the notification will never be accepted."""
    retry_after_s: float | None = None
    """How long to wait, if the body or a header other than ``Retry-After`` says so."""
    unexpected: str | None = None
    """Why a 2xx is no success, as in ``without "ok": true``; None for any other response."""


NO_HINT = ResponseHint()


class Response(msgspec.Struct, frozen=True):
    """The result of sending a request: an answer with a status, or the reason why none came."""

    status: int | None
    """The HTTP status; 200 for the console; None if no answer came."""
    body: bytes = b""
    """At most the first 4 KiB of the answer."""
    failure: "Reason | None" = None
    """Why no answer came; None if one did."""
    error: str | None = None
    """A description of the failure for the log; it contains no secret."""
    hint: ResponseHint = NO_HINT
    """What the destination's type has read in the answer, before its body was cut."""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """The answer's headers that relay reads, with lower-case names."""

    @property
    def answer(self) -> "Answer":
        """The part of the response that is stored."""
        return Answer(self.status, self.body.decode(errors="replace"), self.error)


class Sender(Protocol):
    """Sends a request and returns the result; never raises for what a destination does."""

    async def send(self, request: Request) -> Response:
        """Send the request once."""
        ...


@runtime_checkable
class KeepsConnection(Protocol):
    """A sender that keeps one connection, and opens it again by itself whenever it is lost."""

    @property
    def problem(self) -> str | None:
        """Why it has no connection; None if it has one, or was not refused one yet."""

    def on_open(self, call: Callable[[], None]) -> None:
        """Call ``call`` each time the connection is open."""


class Reached(msgspec.Struct, frozen=True):
    """The result of an attempt to connect to a destination without sending anything."""

    text: str
    """What was reached, or why it could not be reached; without secrets."""
    is_reached: bool


class Answer(msgspec.Struct, frozen=True):
    """The last answer of a destination, as it is stored with a delivery. It contains no secret."""

    status: int | None
    """None if no answer came."""
    text: str = ""
    """Its body, or the beginning of its body."""
    error: str | None = None
    """A description of the failure."""


class Reason(StrEnum):
    """The reason of an attempt's outcome. Logs, metrics and commands use the same values."""

    OK = "ok"
    TIMEOUT = "timeout"
    NAME_NOT_FOUND = "name_not_found"
    """The host name has no address."""
    TLS = "tls"
    """No secure connection: the certificate was not accepted, or the server does not speak TLS."""
    CONNECTION = "connection"
    """No connection, or it broke: refused, reset, or closed without an answer."""
    RATE_LIMITED = "rate_limited"
    """The destination accepts no further requests for now (429)."""
    UNAVAILABLE = "unavailable"
    """The destination cannot process it now: 408, 425, 5xx, or a status that HTTP does not have."""
    GONE = "gone"
    """The destination no longer exists and wants no further requests (410)."""
    REDIRECT = "redirect"
    """The destination redirects (3xx), which relay does not follow."""
    REFUSED = "refused"
    """The destination rejected this request (4xx other than 408, 410, 425, 429)."""
    UNEXPECTED = "unexpected"
    """The status is 2xx, but the body is not that of a success: probably something else has
    answered, such as a login page."""
    REJECTED = "rejected"
    """The status is 2xx, but the body says that the request was rejected."""
    EXHAUSTED = "exhausted"
    """relay itself has no file descriptor or no memory for a connection. This is neither an attempt
    nor a failure of the destination."""
    EXPIRED = "expired"
    """It was retried for as long as ``retry.max_age`` allows."""
    ATTEMPTS = "attempts"
    """It was attempted as often as ``retry.max_attempts`` allows."""
    DESTINATION_REMOVED = "destination_removed"
    """The destination was removed from the configuration."""
    UNREADABLE = "unreadable"
    """A message from another relay is no event: it was never a delivery."""


class Delivered(msgspec.Struct, frozen=True):
    """The destination accepted the request."""

    reason: Reason = Reason.OK
    pause_s: float = 0.0
    """How long the destination wants no further requests, in seconds."""


class Retry(msgspec.Struct, frozen=True):
    """The attempt failed; the next one follows in ``after_s`` seconds."""

    after_s: float
    reason: Reason
    pause_s: float = 0.0
    """How long nothing at all may be sent to the destination, in seconds."""

    @property
    def is_attempt(self) -> bool:
        """Whether it counts as an attempt."""
        return self.reason is not Reason.EXHAUSTED


class Dead(msgspec.Struct, frozen=True):
    """The delivery is given up and kept as a dead letter."""

    reason: Reason
    last_reason: Reason | None = None
    """The reason of the last attempt, if the delivery is given up for its age or its attempts."""
    pause_s: float = 0.0
    """As in `Retry`."""


Outcome = Delivered | Retry | Dead


def outcome_kind(outcome: Outcome) -> str:
    """Return the outcome's name in logs and metrics: ``delivered``, ``retry`` or ``dead``."""
    return type(outcome).__name__.lower()
