"""From a destination to what renders for it."""

from pydantic import SecretStr

from relay.config.model import ConsoleDestination, HttpDestination, SlackDestination
from relay.formats import console, json, renderer, slack

from .samples import NOTIFICATIONS

NOTIFICATION = NOTIFICATIONS[0]
SECRET = "https://hooks.example/T0/s3cret"


def http() -> HttpDestination:
    """A destination with a secret in its URL and one in a header."""
    headers = {"Authorization": SecretStr("Bearer s3cret")}
    return HttpDestination(url=SecretStr(SECRET), headers=headers)


def test_http_gets_the_document() -> None:
    """URL and headers are the destination's own, in the clear."""
    expected = json.render(NOTIFICATION, SECRET, {"Authorization": "Bearer s3cret"})
    assert renderer(http(), colour=False)(NOTIFICATION) == expected


def test_slack_gets_a_message() -> None:
    """The webhook's URL is where it goes."""
    destination = SlackDestination(url=SecretStr(SECRET))
    assert renderer(destination, colour=True)(NOTIFICATION) == slack.render(NOTIFICATION, SECRET)


def test_the_console_gets_a_line() -> None:
    """Readable on a terminal, JSON elsewhere."""
    for colour in (True, False):
        render = renderer(ConsoleDestination(), colour=colour)
        assert render(NOTIFICATION) == console.render(NOTIFICATION, colour=colour)


def test_a_renderer_shows_no_secret() -> None:
    """Neither what renders nor what it rendered tells a secret by its repr."""
    for destination in (http(), SlackDestination(url=SecretStr(SECRET))):
        render = renderer(destination, colour=False)
        assert "s3cret" not in repr(render) + repr(render(NOTIFICATION))
