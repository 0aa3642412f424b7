"""What is stored of incidents: their rows, and what became of the messages that report them.

`relay.incidents` decides what the rows contain. The store only returns them after a start.
"""

import sqlite3
from collections.abc import Collection
from itertools import groupby

import msgspec

from relay.core.exchange import Reason
from relay.store.faults import Corrupt
from relay.store.records import LONG_BYTES, MessageFates, MessageKey, RowChanges, StoredRow
from relay.store.schema import SQL, execute_for_rows

_check_json = msgspec.json.Decoder(msgspec.Raw).decode


def load_rows(connection: sqlite3.Connection) -> list[StoredRow]:
    """See `Outbox.incident_rows`; raises `Corrupt`."""
    return [
        (_require_text(kind), _require_text(key), decode_content(content))
        for kind, key, content in connection.execute(SQL["incident_rows"])
    ]


def save_rows(rows: RowChanges, connection: sqlite3.Connection) -> None:
    """Delete and store rows, in few statements; each long row takes one of its own."""
    upserts = [(*key, content) for key, content in rows.items() if content is not None]
    if len(upserts) < len(rows):
        deletions = [key for key, content in rows.items() if content is None]
        execute_for_rows("delete_incident_rows", deletions, connection)
    for is_long, group in groupby(upserts, lambda row: len(row[2]) > LONG_BYTES):
        together = list(group)
        for part in [[row] for row in together] if is_long else [together]:
            execute_for_rows("save_incident_rows", part, connection)


def find_fates(messages: Collection[MessageKey], connection: sqlite3.Connection) -> MessageFates:
    """See `Outbox.message_fates`."""
    wanted = set(messages)
    found = connection.execute(SQL["waiting_messages"], {"ids": _list_ids(wanted)})
    waiting = frozenset(wanted.intersection(found))
    if not (others := wanted - waiting):
        return MessageFates(waiting, {})
    found = connection.execute(SQL["dead_messages"], {"ids": _list_ids(others)})
    return MessageFates(
        waiting,
        {(to, id_): _decode_reason(reason) for to, id_, reason in found if (to, id_) in others},
    )


def decode_content(content: object) -> bytes:
    """Check a row's content, which is JSON; raises `Corrupt`."""
    if not isinstance(content, bytes):
        raise Corrupt(f"an incident: {type(content).__name__}")
    try:
        _check_json(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Corrupt(f"an incident: {error}") from error
    return content


def _require_text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise Corrupt(f"an incident: {type(value).__name__}")


def _decode_reason(stored: object) -> Reason:
    """Return the reason of a dead letter. One of another version counts as a refusal."""
    try:
        return Reason(_require_text(stored))
    except ValueError:
        return Reason.REFUSED


def _list_ids(messages: Collection[MessageKey]) -> str:
    return msgspec.json.encode([id_ for _, id_ in messages]).decode()
