"""The stored form of the rows: a kind, a key and JSON. The store knows nothing else of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import structlog

from relay.incidents.destination import DestinationState
from relay.incidents.group import Group
from relay.incidents.incident import Incident
from relay.incidents.route_counts import RouteCounts
from relay.incidents.silence import Silence, check_silence
from relay.incidents.state import Changes, Finishes, Rows
from relay.incidents.stored_event import StoredEvent

log = structlog.get_logger()

RowKey = tuple[str, str]
"""The kind of a row, and its key within the kind."""
RowChanges = Mapping[RowKey, bytes | None]
"""The content of the rows to write; None for those to delete."""

_KINDS: Mapping[str, tuple[type[Any], tuple[str, ...]]] = {
    "incidents": (Incident, ("destination", "subject")),
    "groups": (Group, ("destination", "key")),
    "destinations": (DestinationState, ("name",)),
    "route_counts": (RouteCounts, ("destination", "route")),
    "finishes": (Finishes, ("subject",)),
    "silences": (Silence, ("id",)),
}
"""By kind, which is the name of the list in `Rows`: the type of the rows, and the fields that
identify one."""


def encode_changes(changes: Changes) -> dict[RowKey, bytes | None]:
    """Return the stored form of changes."""
    encoded: dict[RowKey, bytes | None] = {}
    for kind, (_, fields) in _KINDS.items():
        for row in getattr(changes.rows, kind):
            key = _make_key(*(getattr(row, field) for field in fields))
            encoded[kind, key] = msgspec.json.encode(row)
    encoded.update((("incidents", _make_key(*key)), None) for key in changes.removed_incidents)
    encoded.update((("groups", _make_key(*key)), None) for key in changes.removed_groups)
    encoded.update((("finishes", _make_key(key)), None) for key in changes.removed_finishes)
    encoded.update((("silences", _make_key(key)), None) for key in changes.removed_silences)
    return encoded


def decode_rows(stored: Iterable[tuple[str, str, bytes]]) -> Rows:
    """Return stored rows: kind, key and content. One that cannot be read is left out and logged."""
    rows = Rows()
    for kind, key, content in stored:
        try:
            row_type, _ = _KINDS[kind]
            row = msgspec.json.decode(content, type=row_type)
            for event in _list_events(row):
                event.decode()
            if isinstance(row, Silence):
                check_silence(row)
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            log.error("incidents.row_unreadable", kind=kind, key=key, reason=str(error))
        else:
            getattr(rows, kind).append(row)
    return rows


def _list_events(row: object) -> Iterable[StoredEvent]:
    match row:
        case Incident():
            return (row.first, row.last)
        case Group(plains=plains):
            return [event for plain in plains for event in plain.events]
        case _:
            return ()


def _make_key(*parts: str | int) -> str:
    return msgspec.json.encode(parts).decode()
