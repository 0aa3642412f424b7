"""Whether the stream of an engine of other hosts is open, and what follows from that.

The connection reconnects by itself, and the consumer may come and go. `StreamMonitor` looks at both
from time to time, and informs all that have to know: the incidents, which confirm nothing while
they cannot hear; the watch over hosts, whose silence means nothing then; and people, once the
stream was away for longer than a server takes to restart.
"""

import asyncio
from collections.abc import Sequence

import structlog

from relay.core.clock import loop_time_s
from relay.core.status import SourceBacklog
from relay.ingest.nats.hosts import HostWatch
from relay.ingest.source import IngestContext
from relay.nats.connection import NatsConnection
from relay.nats.failure import RequestError
from relay.nats.puller import PulledMessage, Puller

log = structlog.get_logger()

CHECK_S = 5.0
"""How often the consumer is asked what it has to deliver."""

LOST_AFTER_S = 15.0
"""A stream that is away for so long counts as lost. A client whose server is restarted is back
after 1 to 5 s, and a stream of three servers elects a leader within 5 s."""

TAKEN_AFTER_S = 30.0
"""After so long as a standby, another relay takes the events. For the first ten seconds after a
start it may only seem so: the server keeps the pin of the process before (``priority_timeout``)."""

STALL_S = 15.0
"""If nothing was read for so long, because the disk fails or the machine slept, hosts were not
heard meanwhile. Otherwise the worker reads every few seconds, even if nothing comes."""


class StreamMonitor:
    """Watches the stream of one engine."""

    def __init__(
        self,
        engine: str,
        connection: NatsConnection,
        puller: Puller,
        hosts: HostWatch,
        context: IngestContext,
    ) -> None:
        """Until the stream is open for the first time it is away from now on."""
        self._engine = engine
        self._connection = connection
        self.puller = puller
        self._hosts = hosts
        self._context = context
        self._is_open = False
        self._is_hearing = False
        """Whether the stream is open, and this relay is no standby."""
        self._standby_since_s: float | None = None
        self._is_taken = False
        """Whether another relay takes the events."""
        self._is_standby_logged = False
        self._is_caught_up = False
        self._away_since_s = self._last_batch_s = loop_time_s()
        self._is_announced = False
        """Whether ``engine_lost`` was emitted."""

    @property
    def is_open(self) -> bool:
        """Whether messages can be pulled."""
        puller = self.puller
        return self._connection.is_connected and puller.info is not None and puller.problem is None

    @property
    def behind(self) -> int:
        """How many messages of the stream nobody has acknowledged yet, as last known."""
        return 0 if self.puller.info is None else self.puller.info.lag

    @property
    def backlog(self) -> SourceBacklog | None:
        """What the consumer has to deliver, as last known; None if nothing is known."""
        info = self.puller.info
        if info is None or not self._connection.is_connected:
            return None
        return SourceBacklog(info.num_pending, info.num_ack_pending, info.num_redelivered)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self.check()
            await asyncio.sleep(CHECK_S)
            if self._connection.is_connected:
                try:
                    await self.puller.consumer_info()
                except RequestError as error:  # the puller notices it too, and says why
                    log.debug("stream.unknown", engine=self._engine, error=str(error))

    def check(self) -> None:
        """Note whether the stream is open now, and inform those that have to know."""
        if self.is_open != self._is_open:
            self._is_open = self.is_open
            self._inform_incidents()
            if self._is_open:
                self._on_opened()
            else:
                self._on_closed()
        self._inform_incidents()
        self._log_role()
        away_s = loop_time_s() - self._away_since_s
        if not self._is_open and not self._is_announced and away_s >= LOST_AFTER_S:
            self._is_announced = True
            reason = self.puller.problem or "there is no connection yet"
            log.warning("engine.unreachable", engine=self._engine, reason=reason)
            self._context.on_engine_change("engine_lost", self._engine, {"reason": reason})
        if self.puller.is_standby:
            self._fall_behind()

    def _inform_incidents(self) -> None:
        """Inform the incidents whether events come. A standby gets none: another relay has them."""
        incidents, is_standby = self._context.incidents, self._is_open and self.puller.is_standby
        is_hearing = self._is_open and not is_standby
        if is_hearing != self._is_hearing:
            self._is_hearing = is_hearing
            if is_hearing:
                incidents.stream_opened(self._engine, 0, is_local=True)
            else:
                incidents.stream_ended(self._engine)
        if not is_standby:
            self._standby_since_s = None
        elif self._standby_since_s is None:
            self._standby_since_s = loop_time_s()
        elif not self._is_taken and loop_time_s() - self._standby_since_s >= TAKEN_AFTER_S:
            self._is_taken = True
            incidents.taken_elsewhere(self._engine)
        if is_hearing:
            self._is_taken = False

    def _log_role(self) -> None:
        """Log when this relay becomes the standby, and when it is the one that notifies again."""
        is_standby = self.puller.is_standby
        if self._is_open and is_standby != self._is_standby_logged:
            self._is_standby_logged = is_standby
            log.info("stream.standby" if is_standby else "stream.taken_over", engine=self._engine)

    def on_batch(self, messages: Sequence[PulledMessage]) -> bool:
        """Note what was read; nothing, if nothing came for a while.

        Returns whether all that hosts have sent by now is among it or before it.
        """
        now_s = loop_time_s()
        if now_s - self._last_batch_s > STALL_S:
            self._fall_behind()
        self._last_batch_s = now_s
        self.check()
        is_drained = not messages or messages[-1].pending == 0
        if not self._is_open or self.puller.is_standby or not is_drained:
            return False
        if not self._is_caught_up:
            self._is_caught_up = True
            self._hosts.resume(self._context.now())
            self._context.incidents.caught_up(self._engine)
        return True

    def close(self) -> None:
        """Note that nothing is read any longer."""
        if self._is_open:
            self._is_open = False
            self._on_closed()
            self._inform_incidents()

    def _on_opened(self) -> None:
        log.info("engine.connected", engine=self._engine)
        if self._is_announced:
            self._is_announced = False
            down_s = round(loop_time_s() - self._away_since_s, 3)
            self._context.on_engine_change("engine_back", self._engine, {"down_s": str(down_s)})

    def _on_closed(self) -> None:
        self._away_since_s = loop_time_s()
        self._fall_behind()

    def _fall_behind(self) -> None:
        self._is_caught_up = False
        self._hosts.pause()
