"""Rows of incidents, and what became of the messages that tell about them."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from relay.core.checkpoint import Checkpoint
from relay.core.notification import Notification
from relay.store.outbox import open_outbox
from relay.store.records import IngestCommit, RowChanges, StoredRow
from tests.unit.store.samples import fetch_due, make_commit, make_notification, make_update

ROWS = (
    ("incident", '["ops","here/container/web"]', b'{"id":"inc_1"}'),
    ("group", '["ops","here/shop"]', b"{}"),
    ("incident", "nul\0ü'\"", b'{"id":"inc_2"}'),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store may be created."""
    return tmp_path / "relay.db"


def changes(upserts: Iterable[StoredRow], deletions: Iterable[tuple[str, str]] = ()) -> RowChanges:
    """The changes that write and delete these rows."""
    written = {(kind, key): content for kind, key, content in upserts}
    return {**written, **dict.fromkeys(deletions)}


def commit_rows(rows: RowChanges, *notifications: Notification) -> IngestCommit:
    """A batch with rows of incidents."""
    return msgspec.structs.replace(make_commit(*notifications), incident_rows=rows)


async def test_rows_are_committed_with_the_cursor_and_the_notifications(file: Path) -> None:
    """All is stored, or nothing; after a restart all is there, in the order of the first store."""
    async with open_outbox(file) as outbox:
        assert await outbox.incident_rows() == []
        await outbox.commit(commit_rows(changes(ROWS), make_update(1)), 10)
        odd = msgspec.structs.replace(make_notification(2), route=object())
        lost = changes([("group", "lost", b"{}")], [ROWS[0][:2]])
        failing = msgspec.structs.replace(
            commit_rows(lost, odd), checkpoint=Checkpoint.starting_at(9)
        )
        with pytest.raises(TypeError):
            await outbox.commit(failing, 10)
        assert await outbox.checkpoint("here") is None
        assert await outbox.incident_rows() == list(ROWS)
    async with open_outbox(file) as outbox:
        assert await outbox.incident_rows() == list(ROWS)
        assert len(await fetch_due(outbox, 10)) == 1


async def test_rows_are_changed_and_deleted(file: Path) -> None:
    """By kind and key, whatever the key is; what does not exist is not deleted."""
    async with open_outbox(file) as outbox:
        await outbox.commit(commit_rows(changes(ROWS)), 10)
        changed = ("incident", ROWS[0][1], b'{"id":"inc_1","total":2}')
        gone = [ROWS[2][:2], ("incident", "none"), ("incident", ROWS[1][1])]
        await outbox.save_incident_rows(changes([changed], gone))
        assert await outbox.incident_rows() == [changed, ROWS[1]]
        await outbox.save_incident_rows(changes([], [changed[:2], ROWS[1][:2]]))
        assert await outbox.incident_rows() == []
