"""One engine as long as it is configured: its stations, one after the other."""

import asyncio

from relay.core.counters import EngineTally
from relay.core.status import EngineReport, Listening, Stream
from relay.ingest.docker.session import Means, Setup, Station, station

_NOT_YET = EngineReport(None, Listening(is_open=False, behind=0, gaps=0, reconnects=0))


class Inlet:
    """Takes in what one engine tells.

    A station that another follows commits all that it has read before the other begins where it
    stopped, so that nothing is lost and nothing taken in twice.
    """

    def __init__(self, name: str, setup: Setup, means: Means) -> None:
        self.name = name
        self.tally = EngineTally()
        self._setup: Setup | None = setup
        self._means = means
        self._station: Station | None = None
        """None while there is none that listens."""
        self._report = _NOT_YET
        self._stopping = False
        self.is_closed = False
        """Whether its engine is no more, and all that it told is committed."""

    @property
    def stream(self) -> Stream:
        """How the engine is heard."""
        return Stream(self.tally, self._station is not None and self._station.hears)

    @property
    def report(self) -> EngineReport:
        """How it is with the engine."""
        return self._report if self._station is None else self._station.report

    @property
    def busy_s(self) -> float:
        """See `relay.core.liveness.Pulse.busy_s`."""
        return 0.0 if self._station is None else self._station.pulse.busy_s

    def follow(self, setup: Setup | None) -> None:
        """The engine is another from here on; with None it is no more."""
        if setup != self._setup:
            self._setup = setup
            self._end_station()

    def store_was_renewed(self) -> None:
        """See `Station.store_was_renewed`."""
        if self._station is not None:
            self._station.store_was_renewed()

    def stop(self) -> None:
        """Read no more; `run` returns when what was read is committed."""
        self._stopping = True
        self._end_station()

    async def run(self) -> None:
        """Listen until told to stop, or until the engine is no more."""
        while not self._stopping and self._setup is not None:
            await self._listen(self._setup)
        self.is_closed = self._setup is None

    async def _listen(self, setup: Setup) -> None:
        fresh = await station(self.name, setup, self._means, self.tally)
        if self._stopping or self._setup is not setup:
            return
        self._station = fresh
        try:
            async with asyncio.TaskGroup() as tasks:
                fresh.start(tasks, self._means.heed)
        finally:
            self._report, self._station = fresh.report, None

    def _end_station(self) -> None:
        if self._station is not None:
            self._station.end()
