"""Checkpoints and container states are stored, and checked when they are decoded."""

from pathlib import Path

import msgspec
import pytest

from relay.core.checkpoint import SEALED_CHUNKS, Checkpoint, encode_seen
from relay.core.container import Container
from relay.store.checkpoints import decode_recent
from relay.store.faults import Corrupt
from relay.store.outbox import open_outbox
from relay.store.records import IngestCommit
from tests.unit.store.samples import (
    CHECKPOINT,
    CHUNK_BYTES,
    CONTAINER,
    make_commit,
    make_notification,
    read_rows,
)

TWO_ENTRIES = encode_seen("evt_" + "0" * 32, 1) + encode_seen("evt_" + "f" * 32, -1)
FULL_CHECKPOINT = Checkpoint(
    7,
    3,
    encode_seen(make_notification(1).events[0].id, 5),
    4,
    True,
    6,
    "engine-1",
    blind_window=(5, 9),
    unreported_drops=(("buffer_full", 5, 9, 7),),
    sealed=(b"a" * CHUNK_BYTES, b"b" * CHUNK_BYTES),
    sealed_count=2,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store may be created."""
    return tmp_path / "relay.db"


def test_whole_entries_are_returned_unchanged() -> None:
    """Any number of whole entries is accepted."""
    assert decode_recent(TWO_ENTRIES) == TWO_ENTRIES
    assert decode_recent(b"") == b""


@pytest.mark.parametrize("recent", [TWO_ENTRIES[:-1], TWO_ENTRIES + b"x"])
def test_a_partial_entry_is_corrupt(recent: bytes) -> None:
    """An incomplete entry is refused: it would stand for an event that never happened."""
    with pytest.raises(Corrupt, match="cut off"):
        decode_recent(recent)


def sealed_commit(chunks: int, first: int) -> IngestCommit:
    """The commit of a cursor that filled this many chunks; those before ``first`` are stored."""
    kept = range(max(0, chunks - SEALED_CHUNKS), chunks)
    checkpoint = Checkpoint(
        7, 3, sealed=tuple(bytes([number]) * CHUNK_BYTES for number in kept), sealed_count=chunks
    )
    return IngestCommit("here", checkpoint, [], first_chunk=first)


async def test_full_chunks_are_stored_once(file: Path) -> None:
    """Each commit adds those that are new, and deletes those that the cursor forgot."""
    async with open_outbox(file) as outbox:
        for first, chunks in ((0, 0), (0, 3), (3, 3), (3, SEALED_CHUNKS + 5)):
            commit = sealed_commit(chunks, first)
            await outbox.commit(commit, 10)
            await outbox.commit(commit, 10)  # as if the disk had failed after the commit
            assert await outbox.checkpoint("here") == commit.checkpoint
            assert await outbox.checkpoint("there") is None
    numbers = [(number,) for number in range(5, SEALED_CHUNKS + 5)]
    assert read_rows(file, "SELECT number FROM recent_events ORDER BY number") == numbers


async def test_a_new_store_gets_all_chunks(file: Path) -> None:
    """A commit that begins with the first chunk needs nothing that is stored."""
    async with open_outbox(file) as outbox:
        commit = sealed_commit(40, 0)
        await outbox.commit(commit, 10)
        assert await outbox.checkpoint("here") == commit.checkpoint


@pytest.mark.parametrize("together", [False, True])
async def test_only_the_times_of_a_container_are_stored(file: Path, together: bool) -> None:
    """What is constant stays; a container that the store has lost stays lost."""
    later = msgspec.structs.replace(CONTAINER, died_ns=9, requested_ns=None, labels={})
    lost = Container("c2", died_ns=9)
    async with open_outbox(file) as outbox:
        await outbox.commit(IngestCommit("here", None, [], [CONTAINER]), 10)
        for changed in [[later, lost]] if together else [[later], [lost]]:
            await outbox.commit(IngestCommit("here", None, [], container_times=changed), 10)
        assert await outbox.containers("here", list) == [
            msgspec.structs.replace(CONTAINER, died_ns=9, requested_ns=None)
        ]


@pytest.mark.parametrize("checkpoint", [CHECKPOINT, FULL_CHECKPOINT])
async def test_a_checkpoint_is_stored_completely(file: Path, checkpoint: Checkpoint) -> None:
    """All fields of a checkpoint are stored, set or not."""
    async with open_outbox(file) as outbox:
        await outbox.commit(make_commit(checkpoint=checkpoint), 10)
    async with open_outbox(file) as outbox:
        assert await outbox.checkpoint("here") == checkpoint


async def test_a_container_is_stored_completely(file: Path) -> None:
    """All fields of a container are stored."""
    assert all(
        value != fields.default
        for value, fields in zip(
            msgspec.structs.astuple(CONTAINER), msgspec.structs.fields(Container), strict=True
        )
    )
    async with open_outbox(file) as outbox:
        await outbox.commit(IngestCommit("here", None, [], [CONTAINER]), 10)
    async with open_outbox(file) as outbox:
        assert await outbox.containers("here", list) == [CONTAINER]
