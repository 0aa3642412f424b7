"""What is kept of each engine, read."""

import pytest

from relay.core.checkpoint import seen
from relay.store.checkpoints import read_recent
from relay.store.faults import Broken

TWO = seen("evt_" + "0" * 32, 1) + seen("evt_" + "f" * 32, -1)


def test_what_is_remembered_is_read_as_it_was_kept() -> None:
    """Event by event."""
    assert read_recent(TWO) == TWO
    assert read_recent(b"") == b""


@pytest.mark.parametrize("kept", [TWO[:-1], TWO + b"x"])
def test_what_is_cut_off_is_broken(kept: bytes) -> None:
    """A part of an event would be one that never was."""
    with pytest.raises(Broken, match="no whole events"):
        read_recent(kept)
