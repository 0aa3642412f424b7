"""What the answers of services mean, read by a destination of their type."""

from functools import cache

import msgspec

from relay.config import RetryConfig
from relay.core.exchange import Outcome, Response
from relay.delivery.retry import Attempt, classify
from relay.destinations.common.webhook import WebhookDestination
from tests.unit.destinations.configs import config_with
from tests.unit.destinations.contract import contracts

FIRST = Attempt(earlier_attempts=0, age_s=0, random_fraction=0.5)


@cache
def make_destination(kind: str, expect: str = "") -> WebhookDestination:
    """A destination of a type; ``expect`` is its key as YAML."""
    keys = {"http": "url: http://h/"} | {name: it.keys for name, it in contracts().items()}
    entry = f"type: {kind}, {keys[kind]}" + (f", expect: {expect}" if expect else "")
    destination = config_with(entry).destinations["to"]
    assert isinstance(destination, WebhookDestination)
    return destination


def classify_response(
    kind: str, status: int | None, body: object = b"", expect: str = "", **headers: str
) -> Outcome:
    """Classify a response for a type; a body that is not bytes is encoded as JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = Response(status, content, headers=named)
    hint = make_destination(kind, expect).read_response(response)
    return classify(msgspec.structs.replace(response, hint=hint), FIRST, RetryConfig())
