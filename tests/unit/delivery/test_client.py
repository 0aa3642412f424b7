"""What the client of a destination sends."""

import json
from datetime import UTC, datetime
from io import BytesIO

import pytest
import standardwebhooks

from relay.core.counters import DestinationCounters
from relay.core.exchange import Request, Response
from relay.core.zone import UTC_ZONE
from relay.delivery.batching import batch_id
from relay.delivery.client import (
    ConsoleOutput,
    DestinationClient,
    make_renderer,
    make_signer,
)
from relay.destinations.common.document import encode_document
from relay.destinations.console import ConsoleDestination
from relay.destinations.http import HttpDestination
from relay.destinations.slack import SlackDestination
from tests.unit.destinations.samples import NOTIFICATIONS, SAMPLE_NOTIFICATIONS
from tests.unit.destinations.updates import OPENED, made

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class RecordingSender:
    """Accepts and records every request."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        return Response(200)


def make_client(sender: RecordingSender, **parts: object) -> DestinationClient:
    entry = {"url": "https://hooks.example/x", "signing_secret": SECRET, **parts}
    to = HttpDestination.model_validate(entry)
    render = to.build_renderer((), print, colour=False, zone=UTC_ZONE)
    return DestinationClient("hook", to, render, sender, make_signer(to))


async def test_a_request_has_the_id_of_its_notification() -> None:
    """Without ``batch``, with the notification's document as the body."""
    sender, (notification, *_) = RecordingSender(), NOTIFICATIONS
    await make_client(sender).send(notification)
    (request,) = sender.sent
    assert request.headers["webhook-id"] == notification.id
    assert request.body == encode_document(notification)


async def test_only_requests_over_http_have_the_headers_of_webhooks() -> None:
    """Other transports have no place for them."""
    sender, to = RecordingSender(), ConsoleDestination()
    render = to.build_renderer((), print, colour=False, zone=UTC_ZONE)
    await DestinationClient("terminal", to, render, sender).send(NOTIFICATIONS[0])
    assert sender.sent == [render(NOTIFICATIONS[0])]


def test_a_message_that_is_late_says_so() -> None:
    """By the clock at the time of sending: a retry may be late where the first attempt was not."""
    to = SlackDestination.model_validate({"url": "https://hooks.slack.example/x"})
    clock = [OPENED.events[0].time_ns]
    console = ConsoleOutput(BytesIO(), colour=False)
    render = make_renderer(
        "ops", to, (), console, DestinationCounters(), lambda: clock[0], zone=UTC_ZONE
    )
    assert b"delayed" not in render(made(OPENED)).body
    clock[0] += 8 * 3_600 * 10**9
    assert b"(07:29 UTC, delayed) shop-web-1 crashed" in render(made(OPENED)).body
    assert b"delayed" not in render(NOTIFICATIONS[0]).body


async def test_a_single_notification_is_sent_as_a_batch() -> None:
    """If the destination takes batches, also for single notifications such as ``relay send``."""
    sender, (notification, *_) = RecordingSender(), NOTIFICATIONS
    await make_client(sender, batch={}).send(notification)
    (request,) = sender.sent
    assert request.headers["webhook-id"] == batch_id([notification.id])
    assert request.body == b"[" + encode_document(notification) + b"]"


@pytest.mark.parametrize("format_", ["json", "cloudevents"])
async def test_a_batch_is_signed(format_: str) -> None:
    """The official library accepts it, under the id of the batch."""
    sender, began = RecordingSender(), datetime.now(UTC)
    client = make_client(sender, batch={}, format=format_)
    await client.send_rendered([(each.id, client.render(each)) for each in SAMPLE_NOTIFICATIONS])
    (request,) = sender.sent
    read = standardwebhooks.Webhook(SECRET).verify(request.body, dict(request.headers))
    assert read == json.loads(request.body)
    assert [each["id"] for each in read] == [each.id for each in SAMPLE_NOTIFICATIONS]
    assert request.headers["webhook-id"] == batch_id(each.id for each in SAMPLE_NOTIFICATIONS)
    assert int(request.headers["webhook-timestamp"]) >= int(began.timestamp())


async def test_a_batch_is_signed_for_github() -> None:
    """The signature covers the whole body; the secret is used as it is written."""
    sender = RecordingSender()
    client = make_client(sender, batch={}, sign="github", signing_secret="hush")
    await client.send_rendered([(each.id, client.render(each)) for each in NOTIFICATIONS])
    (request,) = sender.sent
    assert request.headers["X-Hub-Signature-256"].startswith("sha256=")
    assert "webhook-signature" not in request.headers
