"""The saved position in one engine's event stream.

A checkpoint says how far the stream was processed and which of the last events were processed. The
store commits it together with the deliveries that those events cause. After a restart relay asks
the engine for everything since the checkpoint and drops the events that it has already processed:
no event is lost and none is processed twice. Every commit replaces the checkpoint before.
"""

import struct
from collections.abc import Iterator

import msgspec

_SEEN = struct.Struct("<16sq")
SEEN_BYTES = _SEEN.size
"""The size of the entry that is kept for one processed event."""

CHUNK_EVENTS = 32
"""How many entries make a full chunk: as many as fit into a row of the store without overflow
pages."""

SEALED_CHUNKS = 16
"""How many full chunks are kept."""

REMEMBERED_EVENTS = CHUNK_EVENTS * SEALED_CHUNKS
"""How many events are remembered at least: twice the 256 that a Docker engine can repeat."""


class Checkpoint(msgspec.Struct, frozen=True):
    """How far one engine's stream was processed. All times are the engine's, in nanoseconds."""

    position_ns: int
    """The time of the last event that was processed."""
    earliest_ns: int
    """Never ask the engine for anything earlier: it was before the first start, or relay no longer
    remembers whether it was processed."""
    recent: bytes = b""
    """The last events that were processed, oldest first, each encoded by `encode_seen`: those that
    do not fill a chunk yet."""
    first_start_ns: int = 0
    """Where the very first start began: earlier events are not processed."""
    is_continuous: bool = False
    """Whether an event was processed since the start or the last gap. If the engine's history
    reaches back that far, it must contain this event."""
    reported_until_ns: int = 0
    """Deaths of unknown containers up to this time count as reported."""
    identity: str | None = None
    """The engine's own id, as it last gave it; None if it gives none."""
    blind_window: tuple[int, int] | None = None
    """The last period, from and until, in which events may be missing."""
    unreported_drops: tuple[tuple[str, int, int, int], ...] = ()
    """Dropped records that no ``gap`` event has reported yet: the reason, from when, until when,
    and how many."""
    sealed: tuple[bytes, ...] = ()
    """The events processed before those of ``recent``, `CHUNK_EVENTS` a chunk, oldest first:
    `SEALED_CHUNKS` chunks, or more while an event waits. A full chunk never changes, so the store
    writes each of them once."""
    sealed_count: int = 0
    """How many chunks have been filled since the first start. They are numbered from 0, so the last
    of them has the number ``sealed_count - 1``."""
    passed_count: int = 0
    """How many of the last events were processed while others waited for an answer. A history that
    contains one of them need not reach back to those that waited."""

    @classmethod
    def starting_at(cls, start_ns: int) -> "Checkpoint":
        """Return the checkpoint of a first start at ``start_ns``."""
        return cls(
            position_ns=start_ns,
            earliest_ns=start_ns,
            first_start_ns=start_ns,
            reported_until_ns=start_ns,
        )


def encode_seen(event_id: str, time_ns: int) -> bytes:
    """Return the entry kept for a processed event: its id and its time, in `SEEN_BYTES` bytes."""
    return _SEEN.pack(bytes.fromhex(event_id[len("evt_") :]), time_ns)


def decode_seen(entries: bytes) -> Iterator[tuple[str, int]]:
    """Yield the id and the time of each event in a chunk."""
    for identity, time_ns in _SEEN.iter_unpack(entries):
        yield f"evt_{identity.hex()}", time_ns
