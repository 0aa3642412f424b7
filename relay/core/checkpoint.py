"""What the store keeps of one engine: the checkpoint of its stream, and its containers.

A checkpoint says how far the stream was processed and which of the last events were processed. The
store commits it, and each container that changed, together with the deliveries that those events
cause. After a restart relay asks the engine for everything since the checkpoint and drops the
events that it has already processed: no event is lost and none is processed twice. Every commit
replaces the checkpoint before.
"""

import struct
from collections.abc import Iterator, Mapping

import msgspec

_SEEN = struct.Struct("<16sq")
SEEN_BYTES = _SEEN.size
"""The size of the entry that is kept for one processed event."""

CHUNK_EVENTS = 32
"""How many entries make a full chunk: as many as fit into a row without a page of their own."""

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
    """How many chunks were ever full. Each has a number: the last one ``sealed_count - 1``."""
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


class Container(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One container of one engine, as the store keeps it.

    All times are the engine's, in nanoseconds since 1970. Each of them is a column in the store;
    what stays the same while a container exists is JSON with the names of these fields.
    """

    id: str
    name: str | None = None
    image: str | None = None
    labels: Mapping[str, str] = {}
    """Its labels, unless they are too long: see `relay.ingest.docker.containers.registry`."""
    exit_code_hidden: bool = False
    """Whether a label named ``exitCode`` replaces the real exit code in its events."""
    signal_hidden: bool = False
    """Whether a label named ``signal`` replaces the real signal in its events."""
    started_ns: int | None = None
    """Its last start."""
    died_ns: int | None = None
    """Its last death, whether or not an event reported it."""
    inferred_ns: int | None = None
    """The time of the death that relay inferred, as long as the engine's own event may still
    arrive."""
    requested_ns: int | None = None
    """When somebody last asked it to end."""
    unknown_signal_ns: int | None = None
    """When it was last sent a signal whose number relay cannot know: the engine does not name it,
    or a label hides it."""
    oom_ns: int | None = None
    """When the kernel last killed one of its processes for memory."""
    oom_inferred_ns: int | None = None
    """The time of the last kill for memory that relay inferred."""
    stop_signal: int | None = None
    """The stop signal that it is configured with; None until relay had to inspect it."""

    def is_described_as(self, other: "Container") -> bool:
        """Whether everything but the times is the same."""
        return (
            self.name == other.name
            and self.image == other.image
            and (self.labels is other.labels or self.labels == other.labels)
            and self.exit_code_hidden == other.exit_code_hidden
            and self.signal_hidden == other.signal_hidden
            and self.stop_signal == other.stop_signal
        )

    @property
    def is_dead(self) -> bool:
        """Whether it has died since its last start."""
        return self.died_ns is not None and self.died_ns >= (self.started_ns or 0)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not died since then."""
        return self.started_ns is not None and not self.is_dead


TIME_FIELDS = (
    "started_ns",
    "died_ns",
    "inferred_ns",
    "requested_ns",
    "unknown_signal_ns",
    "oom_ns",
    "oom_inferred_ns",
)
"""The fields of a `Container` that its events change."""
