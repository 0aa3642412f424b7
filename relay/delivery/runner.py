"""One destination as long as it is configured: its lanes, one after the other."""

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import structlog

from relay.core.counters import DestinationTally
from relay.core.exchange import Reason
from relay.core.status import Condition
from relay.delivery.client import Channel
from relay.delivery.rate_limit import Valve
from relay.delivery.worker import Gossip, Lane
from relay.destinations.catalog import Render
from relay.store.records import Outbox

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Way:
    """What a lane needs to reach the destination, as it is configured."""

    channel: Channel
    connections: AsyncExitStack
    """What closes those of the channel."""
    certificates: tuple[bytes, ...]
    """What the files of its ``tls`` held when they were read."""
    valve: Valve


@dataclass(frozen=True, slots=True)
class Sources:
    """What all lanes work with."""

    outbox: Outbox
    gossip: Gossip
    now: Callable[[], int]
    """The clock by which deliveries are due."""


class Outlet:
    """Delivers to one destination.

    A lane that another follows settles what is under way before the other begins, so that nothing
    is sent twice and all stays in order.
    """

    def __init__(self, way: Way, sources: Sources) -> None:
        self.name = way.channel.name
        self._sources = sources
        self._way: Way | None = way
        self._serving = way
        self._lane = self._lane_of(way)
        self._lifted = False
        """Whether no pause is to hold up the lane that follows."""
        self._stopping = False
        self.is_closed = False
        """Whether its destination is no more, and nothing waits for it."""

    @property
    def way(self) -> Way | None:
        """Where it is to go to; None where the destination is no more."""
        return self._way

    @property
    def tally(self) -> DestinationTally:
        """What came of the attempts so far."""
        return self._lane.tally

    @property
    def condition(self) -> Condition:
        """How the destination is."""
        return self._lane.condition

    @property
    def busy_s(self) -> float:
        """See `Pulse.busy_s`; 0.0 where a lane only settles what is under way."""
        return self._lane.pulse.busy_s if self._serving is self._way else 0.0

    def enable(self) -> bool:
        """See `Lane.enable`; a lane that is to follow sends at once, too."""
        self._lifted = self._serving is not self._way
        return self._lane.enable()

    def reword(self, render: Render) -> None:
        """The destination is what it was, and told otherwise."""
        assert self._way is not None, "what is no more is not told otherwise"
        reworded = replace(self._way, channel=replace(self._way.channel, render=render))
        if self._serving is self._way:
            self._serving = reworded
            self._lane.reword(render)
        self._way = reworded

    def follow(self, way: Way | None) -> AsyncExitStack:
        """The destination is another from here on; with None it is no more.

        Returns what closes a way that was to be gone, and will not be.
        """
        untaken = self._untaken
        self._way = way
        self._lane.leave()
        return untaken

    def stop(self) -> None:
        """See `Lane.stop`; what was to follow does not."""
        self._stopping = True
        self._lane.stop()

    async def run(self) -> None:
        """Deliver until told to stop, or until the destination is no more."""
        try:
            await self._serve()
            while not self._stopping:
                if self._way is not None:
                    await self._succeed(self._way)
                elif await self._is_retired():
                    break
        finally:
            await self._untaken.aclose()

    async def _serve(self) -> None:
        async with self._serving.connections:
            await self._lane.run()

    async def _succeed(self, way: Way) -> None:
        """Go on this way. What waits for a retry may be taken there at once."""
        # it was another place that asked for time
        if self._lifted or way.valve is not self._serving.valve:
            await self._sources.outbox.end_pause(self.name)
        await self._sources.outbox.hurry(self.name, self._sources.now())
        if self._way is way and not self._stopping:
            self._serving, self._lane, self._lifted = way, self._lane_of(way), False
            await self._serve()

    async def _is_retired(self) -> bool:
        """Give up what waits; whether the destination is still no more after that."""
        await give_up(self.name, self._sources, lambda: self._way is None)
        self.is_closed = self._way is None
        return self.is_closed

    @property
    def _untaken(self) -> AsyncExitStack:
        """What closes the way that is to be gone next, if there is one."""
        if self._way is None or self._way is self._serving:
            return AsyncExitStack()
        return self._way.connections

    def _lane_of(self, way: Way) -> Lane:
        sources = self._sources
        return Lane(
            way.channel, sources.outbox, way.valve, sources.gossip, sources.now, random.random
        )


async def give_up(name: str, sources: Sources, is_gone: Callable[[], bool]) -> None:
    """Make dead letters of what waits for a destination that is not configured, and tell of it.

    ``is_gone`` is asked before each commit: what comes for one that is configured again is sent.
    """
    count = own = 0
    try:
        while is_gone() and (gone := await sources.outbox.retire(name, sources.now())).count:
            count, own = count + gone.count, own + gone.own
    finally:  # a stop in the midst of it leaves nothing untold
        if count:
            log.warning("destination.removed", destination=name, dead_letters=count)
        if count > own:
            sources.gossip.bury(name, Reason.REMOVED, count - own)
    if is_gone():
        await sources.outbox.end_pause(name)
    if is_gone():
        await sources.outbox.end_episode(name)
