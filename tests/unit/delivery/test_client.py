"""What a channel sends."""

import json
from datetime import UTC, datetime

import pytest
import standardwebhooks

from relay.config import HttpDestination
from relay.core.exchange import Request, Response
from relay.delivery.batching import batch_id
from relay.delivery.client import Channel
from relay.delivery.signing import signer
from relay.destinations.catalog import renderer
from relay.destinations.common.json_document import document
from tests.unit.destinations.samples import EVERY_KIND, NOTIFICATIONS

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Sink:
    """Takes everything."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        return Response(200)


def channel(sink: Sink, **parts: object) -> Channel:
    given = {"url": "https://hooks.example/x", "signing_secret": SECRET, **parts}
    to = HttpDestination.model_validate(given)
    render = renderer(to, (), colour=False, failed=print)
    return Channel("hook", to, render, sink, signer(to))


async def test_one_by_one_a_request_has_the_id_of_its_notification() -> None:
    """And its document as the body."""
    sink, (one, *_) = Sink(), NOTIFICATIONS
    await channel(sink).send(one)
    (request,) = sink.sent
    assert request.headers["webhook-id"] == one.id
    assert request.body == document(one)


async def test_a_destination_of_batches_is_sent_an_array_of_one() -> None:
    """By whoever sends a single notification, too, such as `relay send`."""
    sink, (one, *_) = Sink(), NOTIFICATIONS
    await channel(sink, batch={}).send(one)
    (request,) = sink.sent
    assert request.headers["webhook-id"] == batch_id([one.id])
    assert request.body == b"[" + document(one) + b"]"


@pytest.mark.parametrize("format_", ["json", "cloudevents"])
async def test_a_batch_is_signed_as_it_is_sent(format_: str) -> None:
    """The official library accepts it, under the id of all that is in it."""
    sink, began = Sink(), datetime.now(UTC)
    way = channel(sink, batch={}, format=format_)
    await way.post([(each.id, way.render(each)) for each in EVERY_KIND])
    (request,) = sink.sent
    read = standardwebhooks.Webhook(SECRET).verify(request.body, dict(request.headers))
    assert read == json.loads(request.body)
    assert [each["id"] for each in read] == [each.id for each in EVERY_KIND]
    assert request.headers["webhook-id"] == batch_id(each.id for each in EVERY_KIND)
    assert int(request.headers["webhook-timestamp"]) >= int(began.timestamp())


async def test_github_signs_a_batch() -> None:
    """Its whole body, with the secret as it is written."""
    sink = Sink()
    way = channel(sink, batch={}, sign="github", signing_secret="hush")
    await way.post([(each.id, way.render(each)) for each in NOTIFICATIONS])
    (request,) = sink.sent
    assert request.headers["X-Hub-Signature-256"].startswith("sha256=")
    assert "webhook-signature" not in request.headers
