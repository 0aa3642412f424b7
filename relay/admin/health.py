"""Whether relay's loops make progress, and which does not."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

STUCK_S = 30.0
"""A round takes no longer, but for the store's part. The longest is one of ingest: three seconds
for what comes behind a death, two for an engine's answer about its containers."""

LOOK_S = 5.0
"""How often it is looked whether the loops make progress: longer than most rounds take."""

SLOW_S = 5.0
"""Where a question waits so long for the store, it is the disk that holds things up."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What can be seen of it at one moment."""

    loops: Mapping[str, float]
    """For how many seconds each has been in the same round; see `Pulse.busy_s`."""
    store_lives: bool
    """See `Outbox.lives`."""
    store_waited_s: float
    """See `Outbox.waited_s`."""


def stuck(progress: Progress) -> list[str]:
    """What makes no progress and would after a restart, one text for each.

    A disk that fails or hangs is none of it: every loop that needs it waits, and a relay that is
    started again would wait as well. Nor is an engine out of reach or a destination that is dead,
    for neither holds up a round.
    """
    if not progress.store_lives:
        return ["the store's thread has ended"]
    if progress.store_waited_s > SLOW_S:
        return []
    return [
        f"{name}: nothing has moved for {busy_s:.0f} s"
        for name, busy_s in progress.loops.items()
        if busy_s > STUCK_S
    ]


class Watch:
    """Looks now and then, and twice before it blames.

    What was let go just now has been in its round for long, and has not come round yet.
    """

    def __init__(self, progress: Callable[[], Progress]) -> None:
        self._progress = progress
        self.suspected: list[str] = []
        """What was stuck at the last look."""
        self.found: list[str] = []
        """What was stuck at the last look, and something was at the one before."""

    def look(self) -> None:
        """Again, some time after the last time."""
        before, self.suspected = self.suspected, stuck(self._progress())
        self.found = self.suspected if before else []


@asynccontextmanager
async def watching(progress: Callable[[], Progress]) -> AsyncIterator[Watch]:
    """A watch that looks every `LOOK_S` as long as the context lasts."""
    watch = Watch(progress)
    looking = asyncio.create_task(_look(watch))
    try:
        yield watch
    finally:
        looking.cancel()
        await asyncio.wait({looking})


async def _look(watch: Watch) -> None:
    while True:
        watch.look()
        await asyncio.sleep(LOOK_S)
