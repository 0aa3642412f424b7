"""Messages that are no events: what is kept of them, and what is reported.

Each becomes a dead letter. A ``gap`` event reports them, for each host at most once a minute.
"""

from collections import Counter

import structlog
from msgspec.structs import replace

from relay.core.event import (
    RELAY_ENGINE,
    Event,
    GapReason,
    format_rfc3339,
    make_self_event,
)
from relay.core.notification import Notification, build_notification
from relay.nats.puller import PulledMessage

log = structlog.get_logger()

REPORT_INTERVAL_NS = 60 * 10**9
"""Unreadable messages are reported at most this often."""

MAX_HOSTS = 100
"""A report is about so many hosts at most."""

KEPT_BYTES = 64 * 1024
"""How much of a message is kept: an event has one or two kilobytes."""

KEPT_SUBJECT = 200
"""How many characters of its subject are kept."""

_REASON = "a message from this host was not an event; relay dead list shows it"


class UnreadableMessages:
    """The unreadable messages of one engine that were not reported yet."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._counts: Counter[str] = Counter()
        """By host."""
        self._since_ns = 0
        self._last_report_ns: int | None = None

    def add(self, message: PulledMessage, host: str, error: str, wall_ns: int) -> Notification:
        """Count a message; return the notification of the dead letter that it becomes."""
        if not self._counts:
            self._since_ns = wall_ns
            log.error("message.unreadable", engine=self._engine, host=host, error=error)
        if host in self._counts or len(self._counts) < MAX_HOSTS:
            self._counts[host] += 1
        attributes = {
            "why": GapReason.RECORD_INVALID.value,
            "reason": f"the message {error}",
            "subject": message.subject[:KEPT_SUBJECT],
            "sequence": str(message.stream_seq),
            "message": message.body[:KEPT_BYTES].decode(errors="replace"),
        }
        return build_notification("", self._make_event(host, attributes, wall_ns))

    def report(self, wall_ns: int, *, is_final: bool = False) -> list[Event]:
        """Return the events that are due by now, by the wall clock; all of them if ``is_final``."""
        if not self._counts:
            return []
        last_ns = self._last_report_ns
        is_early = last_ns is not None and 0 <= wall_ns - last_ns < REPORT_INTERVAL_NS
        if is_early and not is_final:
            return []
        counts, self._counts = self._counts, Counter()
        self._last_report_ns = wall_ns
        return [self._report_host(host, count, wall_ns) for host, count in counts.items()]

    def _report_host(self, host: str, count: int, wall_ns: int) -> Event:
        attributes = {
            "why": GapReason.RECORD_INVALID.value,
            "reason": _REASON,
            "from": format_rfc3339(self._since_ns),
            "until": format_rfc3339(max(self._since_ns, wall_ns)),
            "count": str(count),
        }
        return self._make_event(host, attributes, wall_ns)

    def _make_event(self, host: str, attributes: dict[str, str], wall_ns: int) -> Event:
        event = make_self_event(
            "gap",
            engine=RELAY_ENGINE,
            host=host,
            time_ns=wall_ns,
            name=host,
            attributes=attributes,
        )
        return replace(event, via=self._engine)
