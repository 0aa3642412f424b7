"""The keys that say whether a destination is notified of incidents, and when.

Those that concern an incident stand on a route or on its destination; those that concern a message
stand on the destination only. Their defaults are in `relay.incidents.policy`.
"""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, WithJsonSchema

from relay.config.errors import ConfigIssue, InvalidValue, IssueScope, find_closest, invalid, quote
from relay.config.match import NOT_LABELS
from relay.config.section import Schema, get_key, to_field
from relay.config.types import Duration, as_list, at_least, at_most, text_like
from relay.core.incident import Notify

LIFE_KEYS = ("for", "mute", "resolve_after", "send_resolved")
"""The keys about an incident, besides ``notify``."""
HOLD_KEYS = ("for", "mute")
"""Those of them that hold back what is reported."""
GROUP_KEYS = ("group_by", "group_wait", "group_interval", "repeat_interval")
"""The keys about messages."""
LIFE_FIELDS = tuple(map(to_field, LIFE_KEYS))
"""The fields of a model for `LIFE_KEYS`."""

ResolveAfter = Annotated[Duration, at_least("1s"), at_most("24h")]
"""Not 0s: each restart of a crash loop would resolve its incident."""
DEFAULT_RESOLVE_AFTER = timedelta(minutes=1)
For = Annotated[Duration, at_most("7d")]
"""As long as an incident without an event is reminded of."""
GroupWait = Annotated[Duration, at_most("1h")]
GroupInterval = Annotated[Duration, at_least("1s"), at_most("24h")]

_MAX_REPEAT = timedelta(days=6)
"""Reminders of an incident end seven days after its last event."""


def _check_repeat_interval(value: timedelta) -> timedelta:
    if value and not timedelta(minutes=1) <= value <= _MAX_REPEAT:
        raise ValueError("is not between 1m and 6d (0s turns reminders off)")
    return value


RepeatInterval = Annotated[Duration, AfterValidator(_check_repeat_interval)]

GROUP_FIELDS = ("host", "engine", "project", "service", "image", "container")
"""What a group may have in common, besides labels."""
MAX_GROUP_FIELDS = 10
_LABEL_PREFIX = "label."
_MAX_LABEL_CHARS = 255
"""As for the names that people read; Docker itself has no limit."""

GROUP_FIELD: Final[Schema] = text_like(
    rf"{'|'.join(GROUP_FIELDS)}|{re.escape(_LABEL_PREFIX)}.+", "project"
)
GROUP_BY: Final[Schema] = {
    "anyOf": [
        GROUP_FIELD,
        {
            "type": "array",
            "items": GROUP_FIELD,
            "maxItems": MAX_GROUP_FIELDS,
            "uniqueItems": True,
        },
    ]
}


def _check_group_by(fields: tuple[str, ...]) -> tuple[str, ...]:
    issues = [
        issue
        for at, field in enumerate(fields)
        if (issue := _find_mistake(at, field, fields[:at])) is not None
    ]
    if issues:
        raise InvalidValue(issues)
    if len(fields) > MAX_GROUP_FIELDS:
        raise invalid(f"has more than {MAX_GROUP_FIELDS} fields")
    return fields


def _find_mistake(at: int, field: str, earlier: tuple[str, ...]) -> ConfigIssue | None:
    """Return what is wrong with a field of ``group_by``; None if nothing is."""
    if field in earlier:
        return ConfigIssue((at,), "is there twice: keep one", IssueScope.VALUE)
    if field.startswith(_LABEL_PREFIX):
        message = _find_mistake_in_label(field.removeprefix(_LABEL_PREFIX))
        return None if message is None else ConfigIssue((at,), message, IssueScope.VALUE)
    if field in GROUP_FIELDS:
        return None
    known = ", ".join(GROUP_FIELDS)
    message = f"is nothing to group by: there are {known} and {_LABEL_PREFIX}NAME"
    meant = find_closest(field, GROUP_FIELDS, cutoff=0.75) or _LABEL_PREFIX + field
    # A detail, because the field may come from the environment, whose values are never shown.
    detail = f" (did you mean {quote(meant)}?)" if field.strip() else ""
    return ConfigIssue((at,), message, IssueScope.VALUE, detail)


def _find_mistake_in_label(label: str) -> str | None:
    """Return what is wrong with the name of a label; None if nothing is."""
    if label in NOT_LABELS:
        instead = "container" if label == "name" else label
        return f"is no label of the container: write {quote(instead)}"
    if not label.strip() or not label.isprintable() or len(label) > _MAX_LABEL_CHARS:
        return (
            f"needs the name of a label after '{_LABEL_PREFIX}', "
            f"of at most {_MAX_LABEL_CHARS} characters"
        )
    return None


GroupBy = Annotated[
    tuple[str, ...],
    BeforeValidator(as_list),
    AfterValidator(_check_group_by),
    WithJsonSchema(GROUP_BY),
]


def check_wants_incidents(value: object, info: ValidationInfo) -> object:
    """Check that a key about incidents does not stand beside ``notify: events``."""
    if value is not None and info.data.get("notify") is Notify.EVENTS:
        raise invalid(
            f"'notify: events' tells of every event by itself: remove '{get_key(info)}', "
            "or write 'notify: incidents'"
        )
    return value
