"""What is kept of each engine, read."""

import pytest

from relay.core.checkpoint import encode_seen
from relay.store.checkpoints import decode_recent
from relay.store.faults import Corrupt

TWO_ENTRIES = encode_seen("evt_" + "0" * 32, 1) + encode_seen("evt_" + "f" * 32, -1)


def test_what_is_remembered_is_read_as_it_was_kept() -> None:
    """Event by event."""
    assert decode_recent(TWO_ENTRIES) == TWO_ENTRIES
    assert decode_recent(b"") == b""


@pytest.mark.parametrize("kept", [TWO_ENTRIES[:-1], TWO_ENTRIES + b"x"])
def test_what_is_cut_off_is_broken(kept: bytes) -> None:
    """A part of an event would be one that never was."""
    with pytest.raises(Corrupt, match="no whole events"):
        decode_recent(kept)
