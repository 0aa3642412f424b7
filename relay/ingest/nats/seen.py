"""Which events of other hosts were taken in not long ago, so that one that comes again is dropped.

A stream delivers a message again if relay was killed between its commit and the acknowledgement, or
if the acknowledgement was lost. A host publishes an event again if it did not learn that it was
stored, and the stream knows the event for a short time only.

All of it is in memory, and in the store a row for each commit: an event is known from the moment in
which what it leads to is committed.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence

import msgspec

from relay.core.event import SCOPE_SWARM, Event
from relay.store.records import SEEN_KEY_BYTES, SeenChunk

MAX_EVENTS = 1_000_000
"""At most so many events are known, which takes about 100 MB. A thousand hosts that are deployed
anew at once send 12,000."""


def seen_key(event: Event) -> bytes:
    """Return what makes an event of other hosts the same as another.

    The host is in it, so that no host can make relay drop what another one sends. All managers of a
    swarm report the same events; of these it holds what happened, so that nothing but the same
    event is dropped for it.
    """
    identity: object = (event.host, event.id)
    if event.scope == SCOPE_SWARM:
        actor = event.actor
        what = (event.type, event.action, event.detail, actor.id, sorted(actor.attributes.items()))
        identity = ("", event.id, what)
    return hashlib.blake2b(msgspec.json.encode(identity), digest_size=SEEN_KEY_BYTES).digest()


class SeenEvents:
    """The events of one engine that were taken in not long ago."""

    def __init__(
        self,
        remember_ns: int,
        chunks: Iterable[SeenChunk] = (),
        *,
        now_ns: int = 0,
        max_events: int = MAX_EVENTS,
    ) -> None:
        """Continue with the stored ``chunks``; a time after ``now_ns`` is of a wrong clock."""
        self._remember_ns = remember_ns
        self._max_events = max_events
        self._chunks = deque(
            SeenChunk(it.number, min(it.seen_ns, now_ns), it.keys) for it in chunks
        )
        self._keys = {key for chunk in self._chunks for key in _split(chunk.keys)}
        self._next_number = self._chunks[-1].number + 1 if self._chunks else 0

    def __contains__(self, key: bytes) -> bool:
        """Whether the event with this key was taken in."""
        return key in self._keys

    @property
    def oldest_number(self) -> int:
        """The number of the oldest chunk that counts: earlier ones are to be deleted."""
        return self._chunks[0].number if self._chunks else self._next_number

    def add(self, keys: Sequence[bytes], now_ns: int) -> SeenChunk:
        """Note that events are taken in; return the chunk to commit with what they lead to.

        Forgets those that are too old.
        """
        chunk = SeenChunk(self._next_number, now_ns, b"".join(keys))
        self._next_number += 1
        self._chunks.append(chunk)
        self._keys.update(keys)
        while self._chunks and self._is_superfluous(self._chunks[0], now_ns):
            self._keys.difference_update(_split(self._chunks.popleft().keys))
        return chunk

    def _is_superfluous(self, chunk: SeenChunk, now_ns: int) -> bool:
        is_old = chunk.seen_ns + self._remember_ns <= now_ns
        return is_old or len(self._keys) > self._max_events

    def export(self) -> list[SeenChunk]:
        """Return all chunks, for a store that has replaced a broken one."""
        return list(self._chunks)


def _split(keys: bytes) -> Iterable[bytes]:
    return (keys[at : at + SEEN_KEY_BYTES] for at in range(0, len(keys), SEEN_KEY_BYTES))
