"""A file per format: what a notification looks like to those who get it.

Each has a pure ``render(…) -> Request``: of a `Notification` where programs read it, of a `Card`
where people do. `Envelope` adds what a configuration wants around the body, `batch` puts several in
one, and `relay.delivery` adds what every request has: ``webhook-id``,
``webhook-timestamp``, signatures, ``User-Agent``.
"""

from collections.abc import Callable, Mapping, Sequence

from relay.config import (
    ConsoleDestination,
    Destination,
    GotifyDestination,
    HttpDestination,
    NtfyDestination,
    PagerDutyDestination,
    Route,
    TelegramDestination,
    Vendor,
)
from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.destinations import (
    alertmanager,
    console,
    discord,
    googlechat,
    gotify,
    mattermost,
    ntfy,
    pagerduty,
    rocketchat,
    slack,
    teams,
    telegram,
)
from relay.destinations.common import body_template, cloudevents, json_document
from relay.destinations.common.card import Card
from relay.destinations.common.custom_text import Failed, Wording
from relay.destinations.common.envelope import Envelope

Render = Callable[[Notification], Request]


def renderer(
    destination: Destination, routes: Sequence[Route], *, colour: bool, failed: Failed
) -> Render:
    """What renders for ``destination``; ``colour`` tells whether the console is a terminal.

    ``failed`` is told of a template that fails; the notification goes out all the same.

    The secrets of the destination are read here, once. They are in closures, and not in a
    `functools.partial`, because the repr of that would show them.
    """
    if isinstance(destination, ConsoleDestination):
        return lambda notification: console.render(notification, colour=colour)
    envelope = Envelope(destination, failed)
    if isinstance(destination, HttpDestination):
        document = _document(destination, failed)
        return lambda notification: envelope.around(document(notification), notification)
    draw, wording = _drawing(destination), Wording(destination, routes, failed)
    return lambda notification: envelope.around(draw(wording.card(notification)), notification)


def _document(to: HttpDestination, failed: Failed) -> Render:
    url = to.endpoint
    match to.format:
        case "json":
            return lambda notification: json_document.render(notification, url)
        case "cloudevents":
            return lambda notification: cloudevents.structured(notification, url)
        case "cloudevents-binary":
            return lambda notification: cloudevents.binary(notification, url)
        case "template":
            return body_template.renderer(to, failed)


def _drawing(to: Vendor) -> Callable[[Card], Request]:
    url = to.endpoint
    match to:
        case TelegramDestination(chat_id=chat, thread_id=thread):
            return lambda card: telegram.render(card, url, chat, thread)
        case NtfyDestination(topic=secret):
            topic = secret.get_secret_value()
            return lambda card: ntfy.render(card, url, topic)
        case GotifyDestination(token=secret):
            token = secret.get_secret_value()
            return lambda card: gotify.render(card, url, token)
        case PagerDutyDestination(routing_key=secret):
            key = secret.get_secret_value()
            return lambda card: pagerduty.render(card, url, key)
    draw = _DRAWINGS[to.type]
    return lambda card: draw(card, url)


_DRAWINGS: Mapping[str, Callable[[Card, str], Request]] = {
    "slack": slack.render,
    "discord": discord.render,
    "teams": teams.render,
    "mattermost": mattermost.render,
    "rocketchat": rocketchat.render,
    "googlechat": googlechat.render,
    "alertmanager": alertmanager.render,
}
"""By type: those that need nothing but the card and the URL."""
