"""The client of a destination: renders, signs and sends, and classifies the response."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic, time_ns
from typing import BinaryIO

import msgspec
import structlog
from msgspec.structs import replace

from relay.config import BatchConfig, DestinationConfig, Renderer, Route
from relay.config.destination import Transport
from relay.core.counters import DestinationCounters
from relay.core.exchange import KeepsConnection, Outcome, Request, Response, Sender
from relay.core.notification import Notification, mark_late
from relay.core.zone import TimeZone
from relay.delivery.batching import batch_id
from relay.delivery.retry import Attempt, classify
from relay.delivery.senders import open_sender
from relay.destinations.common.document import join_bodies

log = structlog.get_logger()

RenderedNotification = tuple[str, Request]
"""The id of a notification, and the request that would send it alone."""

TEMPLATE_WARNING_INTERVAL_S = 60
"""The failure of one template is logged at most this often."""

Signer = Callable[[Request, str, int], Mapping[str, str]]
"""Returns the headers that sign a request, from its id and its time in seconds since 1970."""


class ConsoleOutput(msgspec.Struct, frozen=True):
    """Where the console destination writes."""

    stream: BinaryIO
    colour: bool
    """Whether the stream is a terminal."""


class DestinationClient(msgspec.Struct, frozen=True):
    """Everything needed to reach one destination."""

    name: str
    destination: DestinationConfig
    render: Renderer
    sender: Sender
    sign: Signer | None = None
    counters: DestinationCounters = msgspec.field(default_factory=DestinationCounters)

    @property
    def batch(self) -> BatchConfig | None:
        """How notifications are batched; None if each is sent in a request of its own."""
        return self.destination.batching

    @property
    def connection(self) -> KeepsConnection | None:
        """The connection to the destination; None if requests open connections as needed."""
        return self.sender if isinstance(self.sender, KeepsConnection) else None

    async def send(self, notification: Notification) -> Response:
        """Render a notification and send it once; see `send_rendered`."""
        return await self.send_rendered([(notification.id, self.render(notification))])

    async def send_rendered(self, rendered: Sequence[RenderedNotification]) -> Response:
        """Send notifications once, in one request. Over HTTP it has the time of the wall clock.

        Without ``batch`` there must be exactly one.
        """
        if self.batch is None:
            ((id_, request),) = rendered
        else:
            id_ = batch_id(id_ for id_, _ in rendered)
            request = join_bodies([request for _, request in rendered])
        if self.destination.transport is Transport.HTTP:
            request = add_webhook_headers(request, id_, time_ns(), self.sign)
        sending = self.sender.send(request)
        del rendered, request  # a body must not stay in memory longer than it takes to send it
        return await sending

    def classify(self, response: Response, attempt: Attempt) -> Outcome:
        """Return what a response of this destination means."""
        return classify(response, attempt, self.destination.retry)


@asynccontextmanager
async def open_client(
    name: str,
    destination: DestinationConfig,
    routes: Sequence[Route],
    console: ConsoleOutput,
    counters: DestinationCounters | None = None,
    *,
    zone: TimeZone,
) -> AsyncIterator[DestinationClient]:
    """Open the client of a destination, with connections of its own.

    ``counters`` are those of an earlier client, to be continued. Raises `TlsError` if the
    destination's certificates cannot be used.
    """
    counters = counters or DestinationCounters()
    render = make_renderer(name, destination, routes, console, counters, zone=zone)
    async with open_sender(destination, console.stream) as sender:
        sign = make_signer(destination)
        yield DestinationClient(name, destination, render, sender, sign, counters)


def make_renderer(
    name: str,
    destination: DestinationConfig,
    routes: Sequence[Route],
    console: ConsoleOutput,
    counters: DestinationCounters,
    wall_ns: Callable[[], int] = time_ns,
    *,
    zone: TimeZone,
) -> Renderer:
    """Return the renderer of a destination, which counts and logs templates that fail.

    A message says so if it is sent long after it was made, by the clock ``wall_ns``.
    """
    next_warning_s: dict[str, float] = {}

    def on_failure(where: str, why: str) -> None:
        counters.template_failures += 1
        if monotonic() >= next_warning_s.get(where, 0.0):
            next_warning_s[where] = monotonic() + TEMPLATE_WARNING_INTERVAL_S
            log.warning("template.failed", destination=name, template=where, error=why)

    render = destination.build_renderer(routes, on_failure, colour=console.colour, zone=zone)
    return lambda notification: render(mark_late(notification, wall_ns()))


# signing


def make_signer(destination: DestinationConfig) -> Signer | None:
    """Return the signer of a destination's requests; None if they are not signed."""
    if (signing := destination.signing) is None:
        return None
    secrets = [secret.get_secret_value() for secret in signing.secrets]
    if signing.scheme == "github":
        return lambda request, *_: sign_github(request.body, secrets[0])
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    return lambda request, id_, time_s: sign_standard(request.body, id_, time_s, keys)


def sign_standard(body: bytes, id_: str, time_s: int, keys: Sequence[bytes]) -> Mapping[str, str]:
    """Return ``webhook-signature`` of the Standard Webhooks specification, signed with each key.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    digests = []
    for key in keys:
        mac = hmac.new(key, f"{id_}.{time_s}.".encode(), hashlib.sha256)
        mac.update(body)  # not joined with what is before it: that would copy a long body
        digests.append(mac.digest())
    signatures = (f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
    return {"webhook-signature": " ".join(signatures)}


def sign_github(body: bytes, secret: str) -> Mapping[str, str]:
    """Return the header with which GitHub signs its webhooks.

    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    """
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}"}


def add_webhook_headers(
    request: Request, webhook_id: str, now_ns: int, sign: Signer | None
) -> Request:
    """Return the request with its id, the time of the attempt in whole seconds, and a signature.

    The names are those of the Standard Webhooks specification (standard-webhooks.md, "Webhook
    metadata"). The request must not be changed afterwards: it is signed.
    """
    time_s = now_ns // 1_000_000_000
    signature = {} if sign is None else sign(request, webhook_id, time_s)
    metadata = {"webhook-id": webhook_id, "webhook-timestamp": str(time_s)}
    return replace(request, headers={**request.headers, **metadata, **signature})
