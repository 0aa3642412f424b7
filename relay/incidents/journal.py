"""Logs what becomes of incidents: opened, resolved, held back, reported.

A storm opens thousands at once, so of each kind only the first few are logged line by line, and
the rest as a number.
"""

from collections import Counter
from typing import Any

import msgspec
import structlog

from relay.core.event import Event, format_rfc3339
from relay.core.incident import Resolution
from relay.incidents.clock import host_name
from relay.incidents.held import Hold
from relay.incidents.incident import Incident
from relay.incidents.message import Message
from relay.incidents.silence import Silence

log = structlog.get_logger()

MAX_LINES = 10
"""At most this many lines of each kind between two calls of `Journal.flush`."""


class Journal:
    """Turns changes of incidents into lines of the log."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def changed(self, before: Incident | None, after: Incident) -> None:
        """Note that an incident was replaced by a later state of itself."""
        if before is None or before.id != after.id:
            self._log("incident.opened", after, severity=after.severity.value)
            return
        if before.is_open and not after.is_open:
            assert after.resolution is not None, "it is over"
            is_closed = after.resolution is Resolution.CLOSED
            facts = {} if is_closed else {"resolution": after.resolution.value}
            name = "incident.closed" if is_closed else "incident.resolved"
            self._log(name, after, **facts, events=after.total)
        elif after.is_open and not before.is_open:
            self._log("incident.reopened", after, severity=after.severity.value)
        if after.crash_looping and not before.crash_looping:
            self._log("incident.crash_looping", after, deaths=after.deaths)

    def held(self, incident: Incident, hold: Hold) -> None:
        """Note that an update of an incident is not reported."""
        facts = {} if hold.silence is None else {"silence": hold.silence}
        self._log(
            "incident.held",
            incident,
            reason=hold.reason.value,
            events=incident.unreported,
            **facts,
        )

    def waits(self, incident: Incident, hold: Hold) -> None:
        """Note that an update of an incident is held back, maybe until some time."""
        facts: dict[str, Any] = {} if hold.silence is None else {"silence": hold.silence}
        if hold.interval is not None:
            facts["interval"] = hold.interval
        if hold.until_ns is not None:
            facts["until"] = format_rfc3339(hold.until_ns)
        self._log("incident.waits", incident, reason=hold.reason.value, **facts)

    def unwatched(self, incident: Incident) -> None:
        """Note that an incident is forgotten because the configuration no longer watches it."""
        if incident.is_open:
            self._log("incident.unwatched", incident, events=incident.total)

    def silence_added(self, silence: Silence) -> None:
        """Note that somebody added a silence."""
        times = {
            "begin": format_rfc3339(silence.from_ns),
            "until": format_rfc3339(silence.until_ns),
        }
        match = silence.incident or msgspec.json.encode(silence.match).decode()
        _log_silence("silence.added", silence, **times, match=match)

    def silence_expired(self, silence: Silence) -> None:
        """Note that somebody ended a silence, or made it end sooner."""
        _log_silence("silence.expired", silence, until=format_rfc3339(silence.end_ns))

    def silence_ended(self, silence: Silence) -> None:
        """Note that a silence has ended by itself."""
        counts = {"incidents": silence.held_incidents, "events": silence.held_events}
        _log_silence("silence.ended", silence, **counts)

    def failed(self, event: Event) -> None:
        """Note that an event was not taken because of the error that is being handled."""
        log.exception("incident.event_failed", id=event.id, engine=event.engine)

    def reported(self, message: Message) -> None:
        """Note that a message was made."""
        update = message.update
        log.info(
            "incident.told",
            destination=message.destination,
            notification=message.id,
            reason=update.reason.value,
            status=message.status.value,
            incidents=len(update.incidents) + update.more,
            events=message.count,
        )

    def flush(self) -> None:
        """Log how many lines were left out since the last call."""
        for name, count in self._counts.items():
            if count > MAX_LINES:
                log.info(name, more=count - MAX_LINES)
        self._counts.clear()

    def _log(self, name: str, incident: Incident, **facts: Any) -> None:
        self._counts[name] += 1
        if self._counts[name] > MAX_LINES:
            return
        if (host := host_name(incident.life.engine)) is not None:
            facts = {"host": host, **facts}
        log.info(
            name,
            incident=incident.id,
            subject=incident.name,
            route=incident.route,
            destination=incident.destination,
            **facts,
        )


def _log_silence(name: str, silence: Silence, **facts: Any) -> None:
    log.info(name, silence=silence.id, **facts, comment=silence.comment, by=silence.by)
