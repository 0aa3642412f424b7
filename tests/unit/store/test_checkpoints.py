"""Stored checkpoints and container states are decoded and checked."""

import pytest

from relay.core.checkpoint import encode_seen
from relay.store.checkpoints import decode_recent
from relay.store.faults import Corrupt

TWO_ENTRIES = encode_seen("evt_" + "0" * 32, 1) + encode_seen("evt_" + "f" * 32, -1)


def test_whole_entries_are_returned_unchanged() -> None:
    """Any number of whole entries is accepted."""
    assert decode_recent(TWO_ENTRIES) == TWO_ENTRIES
    assert decode_recent(b"") == b""


@pytest.mark.parametrize("recent", [TWO_ENTRIES[:-1], TWO_ENTRIES + b"x"])
def test_a_partial_entry_is_corrupt(recent: bytes) -> None:
    """An incomplete entry is refused: it would stand for an event that never happened."""
    with pytest.raises(Corrupt, match="cut off"):
        decode_recent(recent)
