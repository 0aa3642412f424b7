"""What the engine answered to the ``include`` of a route, for payloads and for messages."""

from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from relay.config.validators import MAX_INSPECT_FIELDS
from relay.core.incident import IncidentReport, Status
from relay.core.include import MAX_INCLUDED, Included
from relay.core.notification import Notification
from relay.core.text import truncate_or_blank

NAME_MAX = 40
"""The UTF-16 units of a container's name beside what the engine answered about it."""


def get_included(notification: Notification) -> Included | None:
    """Return the data of the route's ``include``; None if nothing was asked for."""
    if notification.include is None:  # an incident is asked about on its own
        return notification.included
    return notification.included or Included(missing="could not be had in time")


def list_included(notification: Notification) -> list[tuple[str, Included]]:
    """Return the data of the route's ``include``, each with the name of its container.

    The name is empty if the message is about one container. A message about several incidents may
    have the data of the first `MAX_INCLUDED`. That of an incident which is over was in an earlier
    message, if there was one.
    """
    update = notification.update
    reports = () if update is None else update.incidents
    if update is None or (len(reports) == 1 and not update.more):
        included = get_included(notification)
        is_known = bool(reports) and _was_shown(reports[0])
        return [] if included is None or is_known else [("", included)]
    several = [
        (each.subject, each.included)
        for each in reports
        if each.included is not None and not _was_shown(each)
    ]
    return [
        (truncate_or_blank(name, NAME_MAX), included) for name, included in several[:MAX_INCLUDED]
    ]


def list_inspect_fields(containers: Sequence[tuple[str, Included]]) -> list[tuple[str, str]]:
    """Return the inspect fields of containers, as paths and values.

    If there are two containers, each path begins with the name of its container, and each container
    has half as many: a service shares its room among all fields.
    """
    return [
        (f"{name} {path}" if name else path, value)
        for name, included in containers
        for path, value in islice(
            _format_inspect_fields(included), MAX_INSPECT_FIELDS // len(containers)
        )
    ]


def _was_shown(report: IncidentReport) -> bool:
    return report.status is Status.RESOLVED and report.notified_before


def _format_inspect_fields(included: Included) -> Iterator[tuple[str, str]]:
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
