"""From a destination to what renders for it."""

from dataclasses import replace

from pydantic import SecretStr

from relay.config import ConsoleDestination, Destination, HttpDestination, SlackDestination
from relay.core.exchange import Request
from relay.destinations import console, slack
from relay.destinations.catalog import build_renderer
from relay.destinations.common import json_document
from relay.destinations.common.card import Card
from tests.unit.destinations.samples import NOTIFICATIONS

NOTIFICATION = NOTIFICATIONS[0]
SECRET = "https://hooks.example/T0/s3cret"


def fail_on_template_error(where: str, why: str) -> None:
    """No template fails here."""
    raise AssertionError(where, why)


def render_for(destination: Destination) -> Request:
    """What is sent of the notification."""
    return build_renderer(destination, (), colour=False, on_template_error=fail_on_template_error)(
        NOTIFICATION
    )


def http() -> HttpDestination:
    """A destination with a secret in its URL and one in a header."""
    headers = {"Authorization": SecretStr("Bearer s3cret")}
    return HttpDestination(url=SecretStr(SECRET), headers=headers)


def test_http_gets_the_document() -> None:
    """URL and headers are the destination's own, in the clear."""
    expected = json_document.render(NOTIFICATION, SECRET)
    headers = {**expected.headers, "Authorization": "Bearer s3cret"}
    assert render_for(http()) == replace(expected, headers=headers)


def test_slack_gets_a_message() -> None:
    """The webhook's URL is where it goes."""
    destination = SlackDestination(url=SecretStr(SECRET))
    assert render_for(destination) == slack.render(Card(NOTIFICATION), SECRET)


def test_the_console_gets_a_line() -> None:
    """Readable on a terminal, JSON elsewhere."""
    for colour in (True, False):
        render = build_renderer(
            ConsoleDestination(), (), colour=colour, on_template_error=fail_on_template_error
        )
        assert render(NOTIFICATION) == console.render(NOTIFICATION, colour=colour)


def test_a_renderer_shows_no_secret() -> None:
    """Neither what renders nor what it rendered tells a secret by its repr."""
    for destination in (http(), SlackDestination(url=SecretStr(SECRET))):
        render = build_renderer(
            destination, (), colour=False, on_template_error=fail_on_template_error
        )
        assert "s3cret" not in repr(render) + repr(render(NOTIFICATION))
