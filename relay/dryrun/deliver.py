"""Notifications of a recording, really sent: from a store in memory, by the daemon's own lanes."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from msgspec.structs import replace

from relay.config import Config
from relay.core.clock import SteadyClock
from relay.core.event import OWN_ENGINE
from relay.core.exchange import Reason
from relay.core.notification import Notification
from relay.core.shutdown import DRAIN_S, Stop
from relay.delivery.circuit_breaker import Turn
from relay.delivery.client import Terminal, channel
from relay.delivery.rate_limit import Valves
from relay.delivery.worker import Lane
from relay.dryrun.simulator import Sent
from relay.store.outbox import open_outbox
from relay.store.records import Intake, Outbox

AT_ONCE = 500
"""So many notifications are committed at once."""
LOOK_EVERY_S = 0.1
_NO_BOUND = 2**40
"""What is to be sent is in memory already."""

Say = Callable[[str], None]
Progress = Callable[[int], None]
"""Is told how many more deliveries came to an end."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the deliveries to one destination."""

    delivered: int
    given_up: int
    left: int
    """Those that were neither when it was ended."""
    reasons: Mapping[str, int]
    """How many attempts failed, by why."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks at a delivery, and how long nothing may come of it."""

    patience_s: float
    """It is ended when nothing was delivered or given up for so long."""
    say: Say
    progress: Progress


async def deliver(
    sent: Sequence[Sent],
    config: Config,
    terminal: Terminal,
    stop: Stop,
    watch: Watch,
) -> dict[str, Fate]:
    """Send all of it, until it is delivered or given up; by destination what became of it.

    Order, rate limits, retries and the ids are the daemon's. What routes include is left out: the
    containers are not what they were.
    """
    names = [name for name in config.destinations if any(name in it.destinations for it in sent)]
    unordered = [name for name in names if config.destinations[name].ordering == "none"]
    clock, valve = SteadyClock(), Valves().arrange(config.destinations)
    async with AsyncExitStack() as resources:
        outbox: Outbox = await resources.enter_async_context(
            open_outbox(None, max_size=_NO_BOUND, unordered=unordered)
        )
        lanes: list[Lane] = []
        for name in names:
            way = channel(name, config.destinations[name], config.routes, terminal)
            opened = await resources.enter_async_context(way)
            gossip = _Gossip(watch.say)
            lanes.append(Lane(opened, outbox, valve[name], gossip, clock.now_ns, random.random))
        for batch in _batches(sent):
            await outbox.take_in(Intake(OWN_ENGINE, None, batch), clock.now_ns())
        await _run(lanes, outbox, stop, watch)
        pending = await outbox.pending()
    return {lane.name: _fate(lane, pending.get(lane.name, 0)) for lane in lanes}


def _batches(sent: Sequence[Sent]) -> Iterator[list[tuple[Notification, Sequence[str]]]]:
    for start in range(0, len(sent), AT_ONCE):
        yield [
            (replace(it.notification, include=None), it.destinations)
            for it in sent[start : start + AT_ONCE]
        ]


async def _run(lanes: Sequence[Lane], outbox: Outbox, stop: Stop, watch: Watch) -> None:
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(lane.run()) for lane in lanes]
        await _wait(outbox, stop, watch)
        for lane in lanes:
            lane.stop()
        if running:
            await asyncio.wait(running, timeout=DRAIN_S)
        for task in running:
            task.cancel()


async def _wait(outbox: Outbox, stop: Stop, watch: Watch) -> None:
    """Return when nothing is left, when it is told to stop, or out of patience."""
    loop = asyncio.get_running_loop()
    left, since_s = sum((await outbox.pending()).values()), loop.time()
    while left and not stop.asked.is_set():
        await asyncio.sleep(LOOK_EVERY_S)
        now_left = sum((await outbox.pending()).values())
        if now_left != left:
            watch.progress(left - now_left)
            left, since_s = now_left, loop.time()
        elif loop.time() - since_s > watch.patience_s:
            watch.say(f"nothing came to an end for {watch.patience_s:g} s: the rest is not sent")
            return


def _fate(lane: Lane, left: int) -> Fate:
    attempts = lane.tally.attempts
    delivered = sum(count for (what, _), count in attempts.items() if what == "delivered")
    reasons = Counter[str]()
    for (what, reason), count in attempts.items():
        if what != "delivered":
            reasons[reason.value] += count
    return Fate(delivered, lane.tally.dead, left, reasons)


class _Gossip:
    """Says what lanes say of their destinations; no event is made of it."""

    def __init__(self, say: Say) -> None:
        self._say = say

    def turn(self, turn: Turn, destination: str, facts: Mapping[str, str]) -> None:
        """It began to fail, or works again."""
        if turn is Turn.FAILING:
            self._say(f"{destination} fails: {facts['reason']}")
        else:
            self._say(f"{destination} works again")

    def bury(self, destination: str, reason: Reason, count: int = 1) -> None:
        """Deliveries were given up: the end says how many."""
