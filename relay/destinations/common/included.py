"""What a notification includes beside its events, as every format tells it."""

from collections.abc import Iterator

import msgspec

from relay.core.notification import Included, Notification

_TOO_LATE = Included(missing="could not be had in time")


def get_included(notification: Notification) -> Included | None:
    """What its route asked for and what became of that; None if it asked for nothing."""
    if notification.include is None:
        return None
    return notification.included or _TOO_LATE


def format_inspect_fields(told: Included) -> Iterator[tuple[str, str]]:
    """The inspect fields by path: texts as they are, ``none`` for none, anything else as JSON."""
    for path, value in told.inspect.items():
        match value:
            case None:
                yield path, "none"
            case str():
                yield path, value
            case _:
                yield path, msgspec.json.encode(value).decode()
