"""A cursor as it is kept: how far an engine's stream has been taken in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bookmark:
    """What of an engine's stream was taken in. All times are the engine's."""

    position_ns: int
    """The time of the last event taken in."""
    floor_ns: int
    """Nothing before it is to be asked for: it was before the start, or is forgotten."""
    recent: tuple[tuple[str, int], ...] = ()
    """Id and time of the last events taken in, oldest first, a bounded number of them."""
    began_ns: int = 0
    """Where the very first start began: no event before it is taken in."""
    anchored: bool = False
    """Whether an event was taken in since the start or the last gap: one that the engine's history
    has to hold if it reaches back that far."""
    assumed_ns: int = 0
    """Deaths up to here, of containers that are not known, count as told."""
    identity: str | None = None
    """The engine's own id, as it gave it last; None where it gives none."""
    unheard: tuple[int, int] | None = None
    """From when until when, last, events may be missing."""
    drops: tuple[tuple[str, int, int, int], ...] = ()
    """What was dropped and is not told yet: why, from when until when, how many records."""

    @classmethod
    def beginning(cls, start_ns: int) -> "Bookmark":
        """Where a first start begins."""
        return cls(position_ns=start_ns, floor_ns=start_ns, began_ns=start_ns, assumed_ns=start_ns)
