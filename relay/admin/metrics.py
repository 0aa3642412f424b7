"""relay's metrics, in the text format of Prometheus."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from relay import __version__
from relay.admin.health import StatusSnapshot
from relay.core.counters import LATENCY_BUCKETS_S, REFRESH_OUTCOMES, EngineCounters
from relay.core.event import GapReason, ParseErrorKind
from relay.core.exchange import Reason
from relay.core.severity import Severity
from relay.core.status import SourceBacklog
from relay.incidents.held import HeldReason
from relay.incidents.view import IncidentCounts
from relay.store.faults import StoreFault
from relay.store.records import Backlog

OUTCOMES = (
    ("delivered", Reason.OK),
    ("retry", Reason.TIMEOUT),
    ("retry", Reason.NAME_NOT_FOUND),
    ("retry", Reason.TLS),
    ("retry", Reason.CONNECTION),
    ("retry", Reason.RATE_LIMITED),
    ("retry", Reason.UNAVAILABLE),
    ("retry", Reason.UNEXPECTED),
    ("retry", Reason.GONE),
    ("dead", Reason.REDIRECT),
    ("dead", Reason.REFUSED),
    ("dead", Reason.REJECTED),
    ("dead", Reason.EXPIRED),
    ("dead", Reason.ATTEMPTS),
)
"""Every outcome that a delivery attempt can have, with its reason."""

DROP_REASONS = (GapReason.BUFFER_FULL, GapReason.RECORD_TOO_LONG, GapReason.RECORD_INVALID)
"""The reasons for dropping records of an engine's stream."""

GAP_REASONS = tuple(
    reason for reason in GapReason if reason not in (GapReason.STORE_BROKEN, GapReason.STORE_FULL)
)
"""The reasons for a gap in an engine's stream; the others are about the store."""

INFERRED_ACTIONS = ("die", "oom")
"""The events that relay infers from an inspection."""

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""The content type of what `render_metrics` returns."""

_ENGINE_COUNTERS: tuple[tuple[str, str, Callable[[EngineCounters], int]], ...] = (
    ("events_received", "Events received from the engine.", lambda counters: counters.received),
    ("events_taken_in", "Events that were new, and processed.", lambda counters: counters.accepted),
    (
        "events_repeated",
        "Events that had been processed before.",
        lambda counters: counters.duplicates,
    ),
    ("reconnects", "Streams opened after the first one.", lambda counters: counters.reconnects),
    (
        "deliveries_shed",
        "Deliveries given up because the store was full when the engine's events came.",
        lambda counters: counters.evicted,
    ),
    (
        "dead_letters_shed",
        "Dead letters deleted because the store was full when the engine's events came.",
        lambda counters: counters.evicted_dead_letters,
    ),
)
"""For each counter of an engine its name, its help text and its value."""

_ENGINE_COUNTERS_BY_REASON: tuple[
    tuple[str, str, str, Sequence[str], Callable[[EngineCounters], Mapping[str, int]]], ...
] = (
    (
        "records_malformed",
        "Records that could not be read as events.",
        "flaw",
        tuple(ParseErrorKind),
        lambda counters: counters.malformed,
    ),
    (
        "records_dropped",
        "Records dropped because they were too long or the buffer was full.",
        "why",
        DROP_REASONS,
        lambda counters: counters.dropped,
    ),
    (
        "gaps",
        "Stretches of the stream that may be incomplete.",
        "why",
        GAP_REASONS,
        lambda counters: counters.gaps,
    ),
    (
        "events_inferred",
        "Events that the engine did not send, and relay found by inspection.",
        "action",
        INFERRED_ACTIONS,
        lambda counters: counters.inferred,
    ),
)
"""The same with a second label: its name, and every value that it can have."""

_SOURCE_GAUGES: tuple[tuple[str, str, Callable[[SourceBacklog], int]], ...] = (
    (
        "stream_pending_messages",
        "Messages of a NATS stream that were not delivered to any relay yet.",
        lambda backlog: backlog.pending,
    ),
    (
        "stream_unacknowledged_messages",
        "Messages of a NATS stream that were delivered and are not committed yet.",
        lambda backlog: backlog.unacknowledged,
    ),
    (
        "stream_redelivered_messages",
        "Those of them that were delivered more than once.",
        lambda backlog: backlog.redelivered,
    ),
)
"""What waits at the source of an engine: only NATS says that."""

_NO_INCIDENTS = IncidentCounts()

_LATENCY_BOUNDS = [*map(str, LATENCY_BUCKETS_S), "+Inf"]


def render_metrics(
    snapshot: StatusSnapshot,
    backlog: Mapping[str, Backlog] | None,
    incidents: IncidentCounts = _NO_INCIDENTS,
) -> bytes:
    """Return all metrics. Each has, from the start, a series for every value of its labels.

    ``backlog`` is by destination; None if the store does not answer. Then the metrics of waiting
    deliveries are left out.
    """
    registry = CollectorRegistry()
    registry.register(_Collector(snapshot, backlog, incidents))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(
        self,
        snapshot: StatusSnapshot,
        backlog: Mapping[str, Backlog] | None,
        incidents: IncidentCounts,
    ) -> None:
        self._snapshot = snapshot
        self._backlog = backlog
        self._incidents = incidents

    def collect(self) -> Iterator[Metric]:
        yield _gauge("build_info", "The version of relay.", "version", {__version__: 1})
        yield from self._reloads()
        yield from self._engines()
        yield _counter(
            "route_matches", "Events that the route matched.", "route", self._snapshot.route_matches
        )
        yield from self._incident_counts()
        yield from self._attempts()
        yield from self._destination_status()
        yield from self._pending_deliveries()
        yield _gauge(
            "store_failing",
            "Whether the store's disk fails, by reason.",
            "reason",
            {fault.value: fault is self._snapshot.store.reason for fault in StoreFault},
        )

    def _reloads(self) -> Iterator[Metric]:
        reload = self._snapshot.reload
        yield GaugeMetricFamily(
            "relay_config_last_reload_successful",
            "Whether the last reload of the configuration succeeded.",
            value=reload.last_error is None,
        )
        yield GaugeMetricFamily(
            "relay_config_loaded_timestamp_seconds",
            "When the configuration in force was read.",
            value=reload.loaded_ns / 1e9,
        )
        yield _counter(
            "config_reloads",
            "Reloads of the configuration.",
            "outcome",
            {"success": reload.successes, "failure": reload.failures},
        )

    def _engines(self) -> Iterator[Metric]:
        streams = self._snapshot.streams
        for name, help_text, count in _ENGINE_COUNTERS:
            counts = {engine: count(stream.counters) for engine, stream in streams.items()}
            yield _counter(name, help_text, "engine", counts)
        yield _gauge(
            "stream_open",
            "Whether the engine's stream is open.",
            "engine",
            {engine: stream.is_open for engine, stream in streams.items()},
        )
        yield _gauge(
            "stream_standby",
            "Whether another relay gets the events, and this one stands by.",
            "engine",
            {
                engine: it.stream is not None and it.stream.is_standby
                for engine, it in streams.items()
            },
        )
        backlogs = {
            engine: it.stream.backlog
            for engine, it in streams.items()
            if it.stream is not None and it.stream.backlog is not None
        }
        for name, help_text, read in _SOURCE_GAUGES:
            readings = {engine: read(backlog) for engine, backlog in backlogs.items()}
            yield _gauge(name, help_text, "engine", readings)
        yield _gauge(
            "last_event_timestamp_seconds",
            "The engine's time of the last event processed; 0 before the first.",
            "engine",
            {engine: stream.counters.last_event_ns / 1e9 for engine, stream in streams.items()},
        )
        for name, help_text, label, values, count_by in _ENGINE_COUNTERS_BY_REASON:
            family = CounterMetricFamily(f"relay_{name}", help_text, labels=["engine", label])
            for engine, stream in streams.items():
                for value in values:
                    family.add_metric([engine, value], count_by(stream.counters).get(value, 0))
            yield family

    def _incident_counts(self) -> Iterator[Metric]:
        opened = GaugeMetricFamily(
            "relay_incidents_open",
            "Incidents that are open.",
            labels=["destination", "severity"],
        )
        held = CounterMetricFamily(
            "relay_events_held",
            "Events of incidents that were not told, since the first start.",
            labels=["destination", "reason"],
        )
        counts = self._incidents
        for name in self._snapshot.destination_counters:
            for severity in Severity:
                opened.add_metric([name, severity], counts.open.get(name, {}).get(severity, 0))
            for reason in HeldReason:
                held.add_metric([name, reason], counts.held.get(name, {}).get(reason, 0))
        yield opened
        yield held
        yield GaugeMetricFamily(
            "relay_silences_active", "Silences that are in force.", value=counts.silences
        )

    def _attempts(self) -> Iterator[Metric]:
        by_name = self._snapshot.destination_counters
        attempts = CounterMetricFamily(
            "relay_delivery_attempts",
            "Delivery attempts, by outcome and reason.",
            labels=["destination", "outcome", "reason"],
        )
        latencies = HistogramMetricFamily(
            "relay_delivery_latency_seconds",
            "The time from the event to the answer that accepted it.",
            labels=["destination"],
        )
        for name, counters in by_name.items():
            for outcome, reason in OUTCOMES:
                attempts.add_metric([name, outcome, reason], counters.attempts[outcome, reason])
            buckets = list(zip(_LATENCY_BOUNDS, counters.latencies.cumulative_counts, strict=True))
            latencies.add_metric([name], buckets, counters.latencies.sum_s)
        yield attempts
        yield _counter(
            "dead_letters",
            "Deliveries given up and kept as dead letters.",
            "destination",
            {name: counters.dead_letters for name, counters in by_name.items()},
        )
        yield CounterMetricFamily(
            "relay_dead_letters_removed",
            "Deliveries given up because their destination is no longer configured.",
            value=self._snapshot.removed_deliveries,
        )
        yield _counter(
            "template_failures",
            "Templates that failed, so that the default was sent instead.",
            "destination",
            {name: counters.template_failures for name, counters in by_name.items()},
        )
        yield latencies
        refreshes = CounterMetricFamily(
            "relay_refreshes",
            "Requests that repeated open incidents to a service whose alerts expire.",
            labels=["destination", "outcome"],
        )
        for name, counters in by_name.items():
            for outcome in REFRESH_OUTCOMES:
                refreshes.add_metric([name, outcome], counters.refreshes[outcome])
        yield refreshes

    def _destination_status(self) -> Iterator[Metric]:
        statuses = self._snapshot.destination_status
        yield _gauge(
            "destination_failing",
            "Whether the destination failed several times in a row.",
            "destination",
            {name: status.failing for name, status in statuses.items()},
        )
        yield _gauge(
            "destination_stopped",
            "Whether the destination asked for no more deliveries (410).",
            "destination",
            {name: status.stopped for name, status in statuses.items()},
        )
        yield _gauge(
            "destination_disconnected",
            "Whether relay has no connection to the destination, if it keeps one.",
            "destination",
            {name: status.not_connected is not None for name, status in statuses.items()},
        )

    def _pending_deliveries(self) -> Iterator[Metric]:
        if self._backlog is None:
            return
        now_ns = self._snapshot.now_ns
        by_name = {
            name: self._backlog.get(name, Backlog(0, now_ns))
            for name in self._snapshot.destination_counters
        }
        yield _gauge(
            "deliveries_pending",
            "Deliveries that wait to be sent.",
            "destination",
            {name: backlog.count for name, backlog in by_name.items()},
        )
        yield _gauge(
            "oldest_delivery_age_seconds",
            "How long the oldest waiting delivery has waited; 0 if none waits.",
            "destination",
            # not negative for a delivery that was committed after the snapshot
            {name: max(0, now_ns - it.oldest_ns) / 1e9 for name, it in by_name.items()},
        )


def _counter(name: str, help_text: str, label: str, counts: Mapping[str, float]) -> Metric:
    """Return a counter with one label, from the count for each of its values."""
    family = CounterMetricFamily(f"relay_{name}", help_text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _gauge(name: str, help_text: str, label: str, readings: Mapping[str, float]) -> Metric:
    """Return a gauge with one label, from the reading for each of its values."""
    family = GaugeMetricFamily(f"relay_{name}", help_text, labels=[label])
    for value, reading in readings.items():
        family.add_metric([value], reading)
    return family
