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
    ServiceDestination,
    TelegramDestination,
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
from relay.destinations.common.custom_text import CustomText, OnTemplateError
from relay.destinations.common.envelope import Envelope

Renderer = Callable[[Notification], Request]


def build_renderer(
    destination: Destination,
    routes: Sequence[Route],
    *,
    colour: bool,
    on_template_error: OnTemplateError,
) -> Renderer:
    """What renders for ``destination``; ``colour`` tells whether the console is a terminal.

    ``failed`` is told of a template that fails; the notification goes out all the same.

    The secrets of the destination are read here, once. They are in closures, and not in a
    `functools.partial`, because the repr of that would show them.
    """
    if isinstance(destination, ConsoleDestination):
        return lambda notification: console.render(notification, colour=colour)
    envelope = Envelope(destination, on_template_error)
    if isinstance(destination, HttpDestination):
        document = _document_renderer(destination, on_template_error)
        return lambda notification: envelope.wrap(document(notification), notification)
    draw, wording = _card_renderer(destination), CustomText(destination, routes, on_template_error)
    return lambda notification: envelope.wrap(draw(wording.make_card(notification)), notification)


def _document_renderer(to: HttpDestination, failed: OnTemplateError) -> Renderer:
    url = to.endpoint
    match to.format:
        case "json":
            return lambda notification: json_document.render(notification, url)
        case "cloudevents":
            return lambda notification: cloudevents.render_structured(notification, url)
        case "cloudevents-binary":
            return lambda notification: cloudevents.render_binary(notification, url)
        case "template":
            return body_template.build_renderer(to, failed)


def _card_renderer(to: ServiceDestination) -> Callable[[Card], Request]:
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
    draw = _CARD_RENDERERS[to.type]
    return lambda card: draw(card, url)


_CARD_RENDERERS: Mapping[str, Callable[[Card, str], Request]] = {
    "slack": slack.render,
    "discord": discord.render,
    "teams": teams.render,
    "mattermost": mattermost.render,
    "rocketchat": rocketchat.render,
    "googlechat": googlechat.render,
    "alertmanager": alertmanager.render,
}
"""By type: those that need nothing but the card and the URL."""
