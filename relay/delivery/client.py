"""The way to a destination: what renders, signs, sends and judges for it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic, time_ns
from typing import BinaryIO

import structlog

from relay.config import BatchConfig, ConsoleDestination, Destination, HttpDestination, Route
from relay.core.counters import DestinationCounters
from relay.core.exchange import Outcome, Request, Response
from relay.core.notification import Notification
from relay.delivery.batching import batch_id
from relay.delivery.console import open_console_sender
from relay.delivery.http.sender import Sender, open_http_sender
from relay.delivery.retry import Attempt, classify
from relay.delivery.signing import Signer, add_webhook_headers, make_signer
from relay.destinations.catalog import Renderer, build_renderer
from relay.destinations.common.batch import join_bodies
from relay.destinations.responses import RESPONSE_PARSERS, status_only

log = structlog.get_logger()

RenderedNotification = tuple[str, Request]
"""A notification's id, and what it would be sent as by itself."""

TEMPLATE_WARNING_INTERVAL_S = 60
"""How often the same template is said to have failed at most."""


@dataclass(frozen=True, slots=True)
class ConsoleOutput:
    """Where the console destination writes."""

    stream: BinaryIO
    colour: bool
    """Whether somebody looks at it there."""


@dataclass(frozen=True, slots=True)
class DestinationClient:
    """All that it takes to reach a destination."""

    name: str
    destination: Destination
    render: Renderer
    sender: Sender
    sign: Signer | None = None
    counters: DestinationCounters = field(default_factory=DestinationCounters)

    @property
    def batch(self) -> BatchConfig | None:
        """How many notifications go in one request; None where each has its own."""
        return self.destination.batch if isinstance(self.destination, HttpDestination) else None

    async def send(self, notification: Notification) -> Response:
        """Render the notification and send it once, as `post` does."""
        return await self.send_rendered([(notification.id, self.render(notification))])

    async def send_rendered(self, rendered: Sequence[RenderedNotification]) -> Response:
        """Send what was rendered in one request, once, stamped with the time of the wall clock.

        It is one notification, unless they go in batches.
        """
        if self.batch is None:
            ((id_, request),) = rendered
        else:
            id_ = batch_id(id_ for id_, _ in rendered)
            request = join_bodies([request for _, request in rendered])
        return await self.sender.send(add_webhook_headers(request, id_, time_ns(), self.sign))

    def classify(self, response: Response, attempt: Attempt) -> Outcome:
        """What an answer of this destination means."""
        parse_hint = RESPONSE_PARSERS.get(self.destination.type, status_only)
        return classify(response, attempt, self.destination.retry, parse_hint)


@asynccontextmanager
async def open_client(
    name: str,
    destination: Destination,
    routes: Sequence[Route],
    console: ConsoleOutput,
    counters: DestinationCounters | None = None,
) -> AsyncIterator[DestinationClient]:
    """The way to a destination, with connections of its own; it counts on in ``tally``.

    Raises `TlsError` where the destination's certificates cannot be used.
    """
    counted = counters or DestinationCounters()
    render = make_renderer(name, destination, routes, console, counted)
    if isinstance(destination, ConsoleDestination):
        async with open_console_sender(console.stream) as sender:
            yield DestinationClient(name, destination, render, sender, counters=counted)
    else:
        async with open_http_sender(destination) as sender:
            yield DestinationClient(
                name, destination, render, sender, make_signer(destination), counted
            )


def make_renderer(
    name: str,
    destination: Destination,
    routes: Sequence[Route],
    console: ConsoleOutput,
    counters: DestinationCounters,
) -> Renderer:
    """What renders for a destination; templates that fail are counted, and told now and then."""
    next_warning_s: dict[str, float] = {}

    def on_failure(where: str, why: str) -> None:
        counters.template_failures += 1
        if monotonic() >= next_warning_s.get(where, 0.0):
            next_warning_s[where] = monotonic() + TEMPLATE_WARNING_INTERVAL_S
            log.warning("template.failed", destination=name, template=where, error=why)

    return build_renderer(destination, routes, colour=console.colour, on_template_error=on_failure)
