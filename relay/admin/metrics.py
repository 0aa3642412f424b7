"""What relay has counted, in the text format of Prometheus."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from relay import __version__
from relay.admin.status import StatusSnapshot
from relay.core.counters import LATENCY_BUCKETS_S, EngineCounters
from relay.core.event import GapReason, ParseErrorKind
from relay.core.exchange import Reason
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
    ("retry", Reason.GONE),
    ("dead", Reason.REDIRECT),
    ("dead", Reason.REFUSED),
    ("dead", Reason.REJECTED),
    ("dead", Reason.EXPIRED),
    ("dead", Reason.ATTEMPTS),
)
"""What an attempt can come to."""

DROP_REASONS = (GapReason.BUFFER_FULL, GapReason.RECORD_TOO_LONG)
GAP_REASONS = tuple(
    why for why in GapReason if why not in (GapReason.STORE_BROKEN, GapReason.STORE_FULL)
)
"""Those of an engine."""
INFERRED_ACTIONS = ("die", "oom")

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of `exposition`."""

_LATENCY_BOUNDS = [*map(str, LATENCY_BUCKETS_S), "+Inf"]


def render_metrics(vitals: StatusSnapshot, backlog: Mapping[str, Backlog] | None) -> bytes:
    """All metrics, each there from the start with every value that its labels can have.

    ``backlog``: what waits, by destination; None where the store does not say.
    """
    registry = CollectorRegistry()
    registry.register(_Collector(vitals, backlog))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, vitals: StatusSnapshot, backlog: Mapping[str, Backlog] | None) -> None:
        self._vitals = vitals
        self._backlog = backlog

    def collect(self) -> Iterator[Metric]:
        yield self._build_info()
        yield from self._reloads()
        yield from self._engines()
        yield from self._engines_by_reason()
        yield self._routes()
        yield from self._destinations()
        yield self._delivery_latency()
        yield from self._destination_status()
        yield from self._pending_deliveries()
        yield self._store()

    def _build_info(self) -> Metric:
        build = GaugeMetricFamily("relay_build_info", "Which relay this is.", labels=["version"])
        build.add_metric([__version__], 1)
        return build

    def _reloads(self) -> Iterator[Metric]:
        loading = self._vitals.reload
        yield GaugeMetricFamily(
            "relay_config_last_reload_successful",
            "Whether the configuration could be read when that was wanted last.",
            value=loading.last_error is None,
        )
        yield GaugeMetricFamily(
            "relay_config_loaded_timestamp_seconds",
            "When the configuration that is in force was read.",
            value=loading.loaded_ns / 1e9,
        )
        reloads = CounterMetricFamily("relay_config_reloads", "Reloads.", labels=["outcome"])
        reloads.add_metric(["success"], loading.successes)
        reloads.add_metric(["failure"], loading.failures)
        yield reloads

    def _engines(self) -> Iterator[Metric]:
        yield self._engine_counter("events_received", "Events that came.", lambda t: t.received)
        yield self._engine_counter("events_taken_in", "Events that were new.", lambda t: t.accepted)
        yield self._engine_counter(
            "events_repeated", "Events that were taken in before.", lambda t: t.duplicates
        )
        yield self._engine_counter(
            "reconnects",
            "Streams that were opened after the first.",
            lambda t: t.reconnects,
        )
        yield self._engine_counter(
            "deliveries_shed",
            "Deliveries given up for a full store as the engine's events came.",
            lambda t: t.evicted,
        )
        yield self._engine_counter(
            "dead_letters_shed",
            "Dead letters that went likewise.",
            lambda t: t.evicted_dead_letters,
        )
        opened = GaugeMetricFamily(
            "relay_stream_open", "Whether the engine's stream is open.", labels=["engine"]
        )
        last = GaugeMetricFamily(
            "relay_last_event_timestamp_seconds",
            "The engine's time of the event taken in last; 0 before the first.",
            labels=["engine"],
        )
        for name, stream in self._vitals.streams.items():
            opened.add_metric([name], stream.is_open)
            last.add_metric([name], stream.counters.last_event_ns / 1e9)
        yield opened
        yield last

    def _engines_by_reason(self) -> Iterator[Metric]:
        yield self._engine_counter_by(
            "records_malformed",
            "Records that are no events.",
            "flaw",
            ParseErrorKind,
            lambda t: t.malformed,
        )
        yield self._engine_counter_by(
            "records_dropped",
            "Records that found no room.",
            "why",
            DROP_REASONS,
            lambda t: t.dropped,
        )
        yield self._engine_counter_by(
            "gaps", "Stretches that may be incomplete.", "why", GAP_REASONS, lambda t: t.gaps
        )
        yield self._engine_counter_by(
            "events_inferred",
            "Events that the engine did not tell.",
            "action",
            INFERRED_ACTIONS,
            lambda t: t.inferred,
        )

    def _destinations(self) -> Iterator[Metric]:
        attempts = CounterMetricFamily(
            "relay_delivery_attempts",
            "Attempts to deliver.",
            labels=["destination", "outcome", "reason"],
        )
        dead = CounterMetricFamily(
            "relay_dead_letters", "Deliveries given up and kept.", labels=["destination"]
        )
        failures = CounterMetricFamily(
            "relay_template_failures",
            "Templates that failed, so that a default was sent.",
            labels=["destination"],
        )
        for name, tally in self._vitals.destination_counters.items():
            failures.add_metric([name], tally.template_failures)
            for outcome, reason in OUTCOMES:
                attempts.add_metric([name, outcome, reason], tally.attempts[outcome, reason])
            dead.add_metric([name], tally.dead_letters)
        yield attempts
        yield dead
        yield CounterMetricFamily(
            "relay_dead_letters_removed",
            "Deliveries given up because their destinations are configured no more.",
            value=self._vitals.removed_deliveries,
        )
        yield failures

    def _routes(self) -> Metric:
        matches = CounterMetricFamily(
            "relay_route_matches", "Events that the route matched.", labels=["route"]
        )
        for route, count in self._vitals.route_matches.items():
            matches.add_metric([route], count)
        return matches

    def _delivery_latency(self) -> Metric:
        latencies = HistogramMetricFamily(
            "relay_delivery_latency_seconds",
            "From the event to the answer that took it.",
            labels=["destination"],
        )
        for name, tally in self._vitals.destination_counters.items():
            counts = list(zip(_LATENCY_BOUNDS, tally.latencies.cumulative_counts, strict=True))
            latencies.add_metric([name], counts, tally.latencies.sum_s)
        return latencies

    def _pending_deliveries(self) -> Iterator[Metric]:
        if self._backlog is None:
            return
        waiting = GaugeMetricFamily(
            "relay_deliveries_pending", "Deliveries that wait.", labels=["destination"]
        )
        oldest = GaugeMetricFamily(
            "relay_oldest_delivery_age_seconds",
            "How long the oldest of them has waited; 0 where none does.",
            labels=["destination"],
        )
        now_ns = self._vitals.now_ns
        for name in self._vitals.destination_counters:
            found = self._backlog.get(name, Backlog(0, now_ns))
            waiting.add_metric([name], found.count)
            # what was taken in since the time was looked at is not of the future
            oldest.add_metric([name], max(0, now_ns - found.oldest_ns) / 1e9)
        yield waiting
        yield oldest

    def _destination_status(self) -> Iterator[Metric]:
        failing = GaugeMetricFamily(
            "relay_destination_failing",
            "Whether the destination failed several times in a row.",
            labels=["destination"],
        )
        stopped = GaugeMetricFamily(
            "relay_destination_stopped",
            "Whether the destination wants nothing any more.",
            labels=["destination"],
        )
        for name, condition in self._vitals.destination_status.items():
            failing.add_metric([name], condition.failing)
            stopped.add_metric([name], condition.stopped)
        yield failing
        yield stopped

    def _store(self) -> Metric:
        failing = GaugeMetricFamily(
            "relay_store_failing",
            "Whether the store's disk fails, and why.",
            labels=["reason"],
        )
        for trouble in StoreFault:
            failing.add_metric([trouble], trouble is self._vitals.store.reason)
        return failing

    def _engine_counter(
        self, name: str, words: str, count: Callable[[EngineCounters], int]
    ) -> Metric:
        family = CounterMetricFamily(f"relay_{name}", words, labels=["engine"])
        for engine, stream in self._vitals.streams.items():
            family.add_metric([engine], count(stream.counters))
        return family

    def _engine_counter_by(
        self,
        name: str,
        words: str,
        label: str,
        values: Iterable[str],
        counts: Callable[[EngineCounters], Mapping[str, int]],
    ) -> Metric:
        family = CounterMetricFamily(f"relay_{name}", words, labels=["engine", label])
        known: Sequence[str] = list(values)
        for engine, stream in self._vitals.streams.items():
            for value in known:
                family.add_metric([engine, value], counts(stream.counters).get(value, 0))
        return family
