"""What commands may ask of a relay, whether it runs or not."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from relay.core.errors import RelayError
from relay.core.status import Condition, EngineReport, Report
from relay.store.records import Backlog, DeadLetter, Names, Outbox, Selection, Waiting

_AT_ONCE = 100
"""So many dead letters are read at once where only their number is asked for."""


class DeskError(RelayError):
    """What was asked for cannot be had or done."""


class UnknownDestination(DeskError):
    """No destination has this name."""


class NotReloaded(DeskError):
    """The configuration was not read again: nothing has changed."""


class NothingRuns(DeskError):
    """Only a relay that runs could do it."""


class Replayed(msgspec.Struct, frozen=True):
    """What became of dead letters that were to be delivered after all."""

    count: int
    """So many are deliveries again."""
    left: Mapping[str, int] = {}
    """How many stay what they were, by their destinations, which are not configured."""


class Desk(Protocol):
    """Every call may raise `DeskError`."""

    async def now_ns(self) -> int:
        """The time by which deliveries are due, and by which they died."""
        ...

    async def conditions(self) -> Mapping[str, Condition]:
        """How each destination is; empty where no relay runs."""
        ...

    async def report(self) -> Report:
        """How it is with the engines and the store; where a relay runs, no disk is asked."""
        ...

    async def pending(self) -> Mapping[str, int]:
        """How many deliveries wait, by destination."""
        ...

    async def backlog(self) -> Mapping[str, Backlog]:
        """The same, with since when."""
        ...

    async def waiting(self, destination: str | None, most: int) -> list[Waiting]:
        """Some of those, at most so many: the oldest of one destination or of all."""
        ...

    async def dead_letters(
        self, selection: Selection, most: int, below: int | None = None
    ) -> list[DeadLetter]:
        """Up to ``most`` of those, the newest first; with numbers less than ``below``."""
        ...

    async def tally(self, selection: Selection) -> Mapping[str, int]:
        """How many dead letters there are of these, by destination."""
        ...

    async def replay(self, selection: Selection) -> Replayed:
        """Make deliveries of dead letters again, under the same ids, where they can be made."""
        ...

    async def drop(self, selection: Selection) -> int:
        """Forget dead letters. Returns how many."""
        ...

    async def enable(self, destination: str) -> bool:
        """Send to a destination again, whatever it asked for.

        Returns whether that was to wait. Raises `UnknownDestination`, `NothingRuns`.
        """
        ...

    async def reload(self) -> Sequence[str]:
        """Read the configuration again. Returns what that changed, in words.

        Raises `NotReloaded` with every problem, `NothingRuns`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Running:
    """What only a relay that runs can say or do."""

    conditions: Callable[[], Mapping[str, Condition]]
    enable: Callable[[str], bool]
    """See `Desk.enable`; of a destination that there is."""
    report: Callable[[], Report]
    reload: Callable[[], Awaitable[Sequence[str]]]
    """See `Desk.reload`; raises `RelayError`."""


@dataclass(frozen=True, slots=True)
class OwnDesk:
    """The `Desk` of whoever has the store open."""

    outbox: Outbox
    destinations: Names
    """The names of those that are configured at the moment."""
    now: Callable[[], int]
    """The clock by which deliveries are due, in nanoseconds."""
    running: Running | None = None
    """None where nothing is sent."""
    engines: Collection[str] = ()
    """The names of those that are configured; they are asked for where no relay runs."""

    async def now_ns(self) -> int:
        """See `Desk.now_ns`."""
        return self.now()

    async def conditions(self) -> Mapping[str, Condition]:
        """See `Desk.conditions`."""
        return {} if self.running is None else self.running.conditions()

    async def report(self) -> Report:
        """See `Desk.report`."""
        if self.running is not None:
            return self.running.report()
        marks = {name: await self.outbox.bookmark(name) for name in self.engines}
        return Report(
            {name: EngineReport(mark.position_ns if mark else None) for name, mark in marks.items()}
        )

    async def pending(self) -> Mapping[str, int]:
        """See `Desk.pending`."""
        return await self.outbox.pending()

    async def backlog(self) -> Mapping[str, Backlog]:
        """See `Desk.backlog`."""
        return await self.outbox.backlog()

    async def waiting(self, destination: str | None, most: int) -> list[Waiting]:
        """See `Desk.waiting`."""
        return await self.outbox.waiting(destination, most)

    async def dead_letters(
        self, selection: Selection, most: int, below: int | None = None
    ) -> list[DeadLetter]:
        """See `Desk.dead_letters`."""
        return await self.outbox.dead_letters(selection, most, below)

    async def tally(self, selection: Selection) -> Mapping[str, int]:
        """See `Desk.tally`."""
        count: Counter[str] = Counter()
        below: int | None = None
        while found := await self.outbox.dead_letters(selection, _AT_ONCE, below):
            count.update(letter.destination for letter in found)
            below = found[-1].number
        return count

    async def replay(self, selection: Selection) -> Replayed:
        """See `Desk.replay`."""
        count = await self.outbox.replay(selection, self.destinations, self.now())
        known, left = self.destinations(), await self.tally(selection)
        return Replayed(count, {name: left[name] for name in left if name not in known})

    async def drop(self, selection: Selection) -> int:
        """See `Desk.drop`."""
        return await self.outbox.drop(selection)

    async def enable(self, destination: str) -> bool:
        """See `Desk.enable`."""
        if destination not in self.destinations():
            known = ", ".join(self.destinations())
            raise UnknownDestination(f"no destination {destination!r}; there are: {known}")
        if self.running is None:
            raise NothingRuns("no relay is running: when one starts, it sends to all destinations")
        return self.running.enable(destination)

    async def reload(self) -> Sequence[str]:
        """See `Desk.reload`."""
        if self.running is None:
            raise NothingRuns("no relay is running: when one starts, it reads the configuration")
        try:
            return await self.running.reload()
        except RelayError as error:
            raise NotReloaded(
                f"not reloaded; the configuration from before stays in force\n{error}"
            ) from error
