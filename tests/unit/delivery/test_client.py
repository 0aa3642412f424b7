"""What a channel sends."""

import json
from datetime import UTC, datetime

import pytest
import standardwebhooks

from relay.config import HttpDestination
from relay.core.exchange import Request, Response
from relay.delivery.batching import batch_id
from relay.delivery.client import DestinationClient
from relay.delivery.signing import make_signer
from relay.destinations.catalog import build_renderer
from relay.destinations.common.json_document import encode_document
from tests.unit.destinations.samples import NOTIFICATIONS, SAMPLE_NOTIFICATIONS

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Sink:
    """Takes everything."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        return Response(200)


def make_client(sink: Sink, **parts: object) -> DestinationClient:
    given = {"url": "https://hooks.example/x", "signing_secret": SECRET, **parts}
    to = HttpDestination.model_validate(given)
    render = build_renderer(to, (), colour=False, on_template_error=print)
    return DestinationClient("hook", to, render, sink, make_signer(to))


async def test_one_by_one_a_request_has_the_id_of_its_notification() -> None:
    """And its document as the body."""
    sink, (one, *_) = Sink(), NOTIFICATIONS
    await make_client(sink).send(one)
    (request,) = sink.sent
    assert request.headers["webhook-id"] == one.id
    assert request.body == encode_document(one)


async def test_a_destination_of_batches_is_sent_an_array_of_one() -> None:
    """By whoever sends a single notification, too, such as `relay send`."""
    sink, (one, *_) = Sink(), NOTIFICATIONS
    await make_client(sink, batch={}).send(one)
    (request,) = sink.sent
    assert request.headers["webhook-id"] == batch_id([one.id])
    assert request.body == b"[" + encode_document(one) + b"]"


@pytest.mark.parametrize("format_", ["json", "cloudevents"])
async def test_a_batch_is_signed_as_it_is_sent(format_: str) -> None:
    """The official library accepts it, under the id of all that is in it."""
    sink, began = Sink(), datetime.now(UTC)
    way = make_client(sink, batch={}, format=format_)
    await way.send_rendered([(each.id, way.render(each)) for each in SAMPLE_NOTIFICATIONS])
    (request,) = sink.sent
    read = standardwebhooks.Webhook(SECRET).verify(request.body, dict(request.headers))
    assert read == json.loads(request.body)
    assert [each["id"] for each in read] == [each.id for each in SAMPLE_NOTIFICATIONS]
    assert request.headers["webhook-id"] == batch_id(each.id for each in SAMPLE_NOTIFICATIONS)
    assert int(request.headers["webhook-timestamp"]) >= int(began.timestamp())


async def test_github_signs_a_batch() -> None:
    """Its whole body, with the secret as it is written."""
    sink = Sink()
    way = make_client(sink, batch={}, sign="github", signing_secret="hush")
    await way.send_rendered([(each.id, way.render(each)) for each in NOTIFICATIONS])
    (request,) = sink.sent
    assert request.headers["X-Hub-Signature-256"].startswith("sha256=")
    assert "webhook-signature" not in request.headers
