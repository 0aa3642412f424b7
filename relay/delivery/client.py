"""The way to a destination: what renders, signs, sends and judges for it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic, time_ns
from typing import BinaryIO

import structlog

from relay.config import BatchConfig, ConsoleDestination, Destination, HttpDestination, Route
from relay.core.counters import DestinationTally
from relay.core.exchange import Outcome, Request, Response
from relay.core.notification import Notification
from relay.delivery.batching import batch_id
from relay.delivery.console import terminal_sender
from relay.delivery.http.sender import Sender, http_sender
from relay.delivery.retry import Attempt, judge
from relay.delivery.signing import Sign, signer, stamped
from relay.destinations.catalog import Render, renderer
from relay.destinations.common.batch import together
from relay.destinations.responses import DIALECTS, plain

log = structlog.get_logger()

Written = tuple[str, Request]
"""A notification's id, and what it would be sent as by itself."""

TELL_EVERY_S = 60
"""How often the same template is said to have failed at most."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where the console destination writes."""

    stream: BinaryIO
    colour: bool
    """Whether somebody looks at it there."""


@dataclass(frozen=True, slots=True)
class Channel:
    """All that it takes to reach a destination."""

    name: str
    destination: Destination
    render: Render
    sender: Sender
    sign: Sign | None = None
    tally: DestinationTally = field(default_factory=DestinationTally)

    @property
    def batch(self) -> BatchConfig | None:
        """How many notifications go in one request; None where each has its own."""
        return self.destination.batch if isinstance(self.destination, HttpDestination) else None

    async def send(self, notification: Notification) -> Response:
        """Render the notification and send it once, as `post` does."""
        return await self.post([(notification.id, self.render(notification))])

    async def post(self, written: Sequence[Written]) -> Response:
        """Send what was rendered in one request, once, stamped with the time of the wall clock.

        It is one notification, unless they go in batches.
        """
        if self.batch is None:
            ((id_, request),) = written
        else:
            id_ = batch_id(id_ for id_, _ in written)
            request = together([request for _, request in written])
        return await self.sender.send(stamped(request, id_, time_ns(), self.sign))

    def judge(self, response: Response, attempt: Attempt) -> Outcome:
        """What an answer of this destination means."""
        dialect = DIALECTS.get(self.destination.type, plain)
        return judge(response, attempt, self.destination.retry, dialect)


@asynccontextmanager
async def channel(
    name: str,
    destination: Destination,
    routes: Sequence[Route],
    terminal: Terminal,
    tally: DestinationTally | None = None,
) -> AsyncIterator[Channel]:
    """The way to a destination, with connections of its own; it counts on in ``tally``.

    Raises `TlsError` where the destination's certificates cannot be used.
    """
    counted = tally or DestinationTally()
    render = renderer_of(name, destination, routes, terminal, counted)
    if isinstance(destination, ConsoleDestination):
        async with terminal_sender(terminal.stream) as printer:
            yield Channel(name, destination, render, printer, tally=counted)
    else:
        async with http_sender(destination) as http:
            yield Channel(name, destination, render, http, signer(destination), counted)


def renderer_of(
    name: str,
    destination: Destination,
    routes: Sequence[Route],
    terminal: Terminal,
    tally: DestinationTally,
) -> Render:
    """What renders for a destination; templates that fail are counted, and told now and then."""
    told_s: dict[str, float] = {}

    def failed(where: str, why: str) -> None:
        tally.template_failures += 1
        if monotonic() >= told_s.get(where, 0.0):
            told_s[where] = monotonic() + TELL_EVERY_S
            log.warning("template.failed", destination=name, template=where, error=why)

    return renderer(destination, routes, colour=terminal.colour, failed=failed)
