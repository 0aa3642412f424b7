"""The renderers of destinations."""

from msgspec.structs import replace
from pydantic import SecretStr

from relay.config import DestinationConfig
from relay.core.exchange import Request
from relay.core.zone import UTC_ZONE
from relay.destinations import console
from relay.destinations.catalog import DESTINATION_TYPES
from relay.destinations.common.card import Card
from relay.destinations.common.document import render_document
from relay.destinations.console import ConsoleDestination
from relay.destinations.http import HttpDestination
from relay.destinations.slack import SlackDestination
from tests.unit.destinations.samples import NOTIFICATIONS

NOTIFICATION = NOTIFICATIONS[0]
SECRET = "https://hooks.example/T0/s3cret"


def fail_on_template_error(where: str, why: str) -> None:
    """Fail the test if a template fails."""
    raise AssertionError(where, why)


def render_for(destination: DestinationConfig) -> Request:
    """The request for the notification."""
    return destination.build_renderer((), fail_on_template_error, colour=False, zone=UTC_ZONE)(
        NOTIFICATION
    )


def http() -> HttpDestination:
    """A destination with a secret in its URL and one in a header."""
    headers = {"Authorization": SecretStr("Bearer s3cret")}
    return HttpDestination(url=SecretStr(SECRET), headers=headers)


def test_every_type_has_its_model() -> None:
    """The catalogue lists a model under the value of its ``type``."""
    for name, model in DESTINATION_TYPES.models.items():
        assert model.model_fields["type"].default == name


def test_http_gets_the_document() -> None:
    """URL and headers are those of the destination, without a mask."""
    expected = render_document(NOTIFICATION, SECRET)
    headers = {**expected.headers, "Authorization": "Bearer s3cret"}
    assert render_for(http()) == replace(expected, headers=headers)


def test_slack_gets_a_message() -> None:
    """The message goes to the URL of the webhook."""
    destination = SlackDestination(url=SecretStr(SECRET))
    assert render_for(destination) == destination.render(Card(NOTIFICATION))


def test_the_console_gets_a_line() -> None:
    """The line is readable on a terminal and JSON elsewhere."""
    for colour in (True, False):
        render = ConsoleDestination().build_renderer(
            (), fail_on_template_error, colour=colour, zone=UTC_ZONE
        )
        assert render(NOTIFICATION) == console.render(NOTIFICATION, colour=colour, zone=UTC_ZONE)


def test_a_renderer_shows_no_secret() -> None:
    """Neither the renderer nor the request shows a secret in its repr."""
    for destination in (http(), SlackDestination(url=SecretStr(SECRET))):
        render = destination.build_renderer((), fail_on_template_error, colour=False, zone=UTC_ZONE)
        assert "s3cret" not in repr(render) + repr(render(NOTIFICATION))
