"""A cursor as it is kept: how far an engine's stream has been taken in."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_SEEN = struct.Struct("<16sq")
SEEN_BYTES = _SEEN.size
"""What is remembered of an event."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What of an engine's stream was taken in. All times are the engine's."""

    position_ns: int
    """The time of the last event taken in."""
    earliest_ns: int
    """Nothing before it is to be asked for: it was before the start, or is forgotten."""
    recent: bytes = b""
    """The last events taken in, each as `seen`, oldest first, a bounded number of them."""
    first_start_ns: int = 0
    """Where the very first start began: no event before it is taken in."""
    is_continuous: bool = False
    """Whether an event was taken in since the start or the last gap: one that the engine's history
    has to hold if it reaches back that far."""
    reported_until_ns: int = 0
    """Deaths up to here, of containers that are not known, count as told."""
    identity: str | None = None
    """The engine's own id, as it gave it last; None where it gives none."""
    blind_window: tuple[int, int] | None = None
    """From when until when, last, events may be missing."""
    unreported_drops: tuple[tuple[str, int, int, int], ...] = ()
    """What was dropped and is not told yet: why, from when until when, how many records."""

    @classmethod
    def starting_at(cls, start_ns: int) -> "Checkpoint":
        """Where a first start begins."""
        return cls(
            position_ns=start_ns,
            earliest_ns=start_ns,
            first_start_ns=start_ns,
            reported_until_ns=start_ns,
        )


def encode_seen(event_id: str, time_ns: int) -> bytes:
    """An event as it is remembered and kept: its id, then its time, in `SEEN_BYTES`."""
    return _SEEN.pack(bytes.fromhex(event_id.removeprefix("evt_")), time_ns)


def seen_time_ns(entry: bytes) -> int:
    """The time of an event that is remembered."""
    return int(_SEEN.unpack(entry)[1])


def decode_seen(recent: bytes) -> Iterator[tuple[str, bytes]]:
    """The ids of the events that are remembered, each with what is remembered of it."""
    for start in range(0, len(recent), SEEN_BYTES):
        entry = recent[start : start + SEEN_BYTES]
        yield f"evt_{entry[:16].hex()}", entry
