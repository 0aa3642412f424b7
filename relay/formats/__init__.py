"""A file per format: what a notification looks like to those who get it.

Each has a pure ``render(notification, …) -> Request``. The sender adds what every request has:
``webhook-id``, ``webhook-timestamp``, ``User-Agent``.
"""

from collections.abc import Callable

from relay.config.model import ConsoleDestination, Destination, HttpDestination, SlackDestination
from relay.exchange import Request
from relay.formats import console, json, slack
from relay.notification import Notification

Render = Callable[[Notification], Request]


def renderer(destination: Destination, *, colour: bool) -> Render:
    """What renders for ``destination``; ``colour`` tells whether the console is a terminal.

    The secrets of the destination are read here, once. They are in closures, and not in a
    `functools.partial`, because the repr of that would show them.
    """
    match destination:
        case HttpDestination():
            url = destination.url.get_secret_value()
            headers = {
                name: value.get_secret_value() for name, value in destination.headers.items()
            }
            return lambda notification: json.render(notification, url, headers)
        case SlackDestination():
            webhook = destination.url.get_secret_value()
            return lambda notification: slack.render(notification, webhook)
        case ConsoleDestination():
            return lambda notification: console.render(notification, colour=colour)
