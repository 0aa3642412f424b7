"""Reads what a notification includes beside its events: logs, health and inspect fields."""

from collections.abc import Iterator

import msgspec

from relay.core.notification import Included, Notification

_TOO_LATE = Included(missing="could not be had in time")


def get_included(notification: Notification) -> Included | None:
    """Return the data of the route's ``include``; None if the route has no ``include``."""
    if notification.include is None:
        return None
    return notification.included or _TOO_LATE


def format_inspect_fields(included: Included) -> Iterator[tuple[str, str]]:
    """Yield path and value of each inspect field.

    Text stays as it is, null becomes ``none``, anything else becomes JSON.
    """
    for path, value in included.inspect.items():
        match value:
            case None:
                yield path, "none"
            case str():
                yield path, value
            case _:
                yield path, msgspec.json.encode(value).decode()
