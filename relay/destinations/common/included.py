"""What the engine answered to the ``include`` of a route, for payloads and for messages."""

from collections.abc import Iterator

import msgspec

from relay.core.include import Included
from relay.core.notification import Notification


def get_included(notification: Notification) -> Included | None:
    """Return the data of the route's ``include``; None if nothing was asked for."""
    if notification.include is None:  # an incident is asked about on its own
        return notification.included
    return notification.included or Included(missing="could not be had in time")


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
