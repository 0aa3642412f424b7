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
from relay.admin.status import Vitals
from relay.core.counters import LATENCIES_S, EngineTally
from relay.core.event import Why
from relay.core.exchange import Reason
from relay.ingest.docker.engine.parser import Flaw
from relay.store.faults import Trouble
from relay.store.records import Backlog

VERDICTS = (
    ("delivered", Reason.OK),
    ("retry", Reason.TIMEOUT),
    ("retry", Reason.NAME),
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

DROPS = (Why.BUFFER_FULL, Why.RECORD_TOO_LONG)
GAPS = tuple(why for why in Why if why not in (Why.STORE_BROKEN, Why.STORE_FULL))
"""Those of an engine."""
INFERRED = ("die", "oom")

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""Of `exposition`."""

_BOUNDS = [*map(str, LATENCIES_S), "+Inf"]


def exposition(vitals: Vitals, backlog: Mapping[str, Backlog] | None) -> bytes:
    """All metrics, each there from the start with every value that its labels can have.

    ``backlog``: what waits, by destination; None where the store does not say.
    """
    registry = CollectorRegistry()
    registry.register(_Collector(vitals, backlog))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, vitals: Vitals, backlog: Mapping[str, Backlog] | None) -> None:
        self._vitals = vitals
        self._backlog = backlog

    def collect(self) -> Iterator[Metric]:
        yield self._of_build()
        yield from self._of_loading()
        yield from self._of_engines()
        yield from self._of_engines_in_detail()
        yield self._of_routes()
        yield from self._of_destinations()
        yield self._of_latencies()
        yield from self._of_conditions()
        yield from self._of_backlog()
        yield self._of_store()

    def _of_build(self) -> Metric:
        build = GaugeMetricFamily("relay_build_info", "Which relay this is.", labels=["version"])
        build.add_metric([__version__], 1)
        return build

    def _of_loading(self) -> Iterator[Metric]:
        loading = self._vitals.loading
        yield GaugeMetricFamily(
            "relay_config_last_reload_successful",
            "Whether the configuration could be read when that was wanted last.",
            value=loading.failed is None,
        )
        yield GaugeMetricFamily(
            "relay_config_loaded_timestamp_seconds",
            "When the configuration that is in force was read.",
            value=loading.loaded_ns / 1e9,
        )
        reloads = CounterMetricFamily("relay_config_reloads", "Reloads.", labels=["outcome"])
        reloads.add_metric(["success"], loading.reloads)
        reloads.add_metric(["failure"], loading.failures)
        yield reloads

    def _of_engines(self) -> Iterator[Metric]:
        yield self._total("events_received", "Events that came.", lambda t: t.received)
        yield self._total("events_taken_in", "Events that were new.", lambda t: t.taken_in)
        yield self._total(
            "events_repeated", "Events that were taken in before.", lambda t: t.repeated
        )
        yield self._total(
            "reconnects",
            "Streams that were opened after the first.",
            lambda t: t.reconnects,
        )
        yield self._total(
            "deliveries_shed",
            "Deliveries given up for a full store as the engine's events came.",
            lambda t: t.shed,
        )
        yield self._total(
            "dead_letters_shed", "Dead letters that went likewise.", lambda t: t.letters_shed
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
            last.add_metric([name], stream.tally.last_event_ns / 1e9)
        yield opened
        yield last

    def _of_engines_in_detail(self) -> Iterator[Metric]:
        yield self._totals(
            "records_malformed", "Records that are no events.", "flaw", Flaw, lambda t: t.malformed
        )
        yield self._totals(
            "records_dropped", "Records that found no room.", "why", DROPS, lambda t: t.dropped
        )
        yield self._totals(
            "gaps", "Stretches that may be incomplete.", "why", GAPS, lambda t: t.gaps
        )
        yield self._totals(
            "events_inferred",
            "Events that the engine did not tell.",
            "action",
            INFERRED,
            lambda t: t.inferred,
        )

    def _of_destinations(self) -> Iterator[Metric]:
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
        for name, tally in self._vitals.destinations.items():
            failures.add_metric([name], tally.template_failures)
            for outcome, reason in VERDICTS:
                attempts.add_metric([name, outcome, reason], tally.attempts[outcome, reason])
            dead.add_metric([name], tally.dead)
        yield attempts
        yield dead
        yield CounterMetricFamily(
            "relay_dead_letters_removed",
            "Deliveries given up because their destinations are configured no more.",
            value=self._vitals.removed,
        )
        yield failures

    def _of_routes(self) -> Metric:
        matches = CounterMetricFamily(
            "relay_route_matches", "Events that the route matched.", labels=["route"]
        )
        for route, count in self._vitals.matches.items():
            matches.add_metric([route], count)
        return matches

    def _of_latencies(self) -> Metric:
        latencies = HistogramMetricFamily(
            "relay_delivery_latency_seconds",
            "From the event to the answer that took it.",
            labels=["destination"],
        )
        for name, tally in self._vitals.destinations.items():
            counts = list(zip(_BOUNDS, tally.latencies.up_to, strict=True))
            latencies.add_metric([name], counts, tally.latencies.sum_s)
        return latencies

    def _of_backlog(self) -> Iterator[Metric]:
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
        for name in self._vitals.destinations:
            found = self._backlog.get(name, Backlog(0, now_ns))
            waiting.add_metric([name], found.count)
            # what was taken in since the time was looked at is not of the future
            oldest.add_metric([name], max(0, now_ns - found.oldest_ns) / 1e9)
        yield waiting
        yield oldest

    def _of_conditions(self) -> Iterator[Metric]:
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
        for name, condition in self._vitals.conditions.items():
            failing.add_metric([name], condition.failing)
            stopped.add_metric([name], condition.stopped)
        yield failing
        yield stopped

    def _of_store(self) -> Metric:
        failing = GaugeMetricFamily(
            "relay_store_failing",
            "Whether the store's disk fails, and why.",
            labels=["reason"],
        )
        for trouble in Trouble:
            failing.add_metric([trouble], trouble is self._vitals.store.reason)
        return failing

    def _total(self, name: str, words: str, count: Callable[[EngineTally], int]) -> Metric:
        family = CounterMetricFamily(f"relay_{name}", words, labels=["engine"])
        for engine, stream in self._vitals.streams.items():
            family.add_metric([engine], count(stream.tally))
        return family

    def _totals(
        self,
        name: str,
        words: str,
        label: str,
        values: Iterable[str],
        counts: Callable[[EngineTally], Mapping[str, int]],
    ) -> Metric:
        family = CounterMetricFamily(f"relay_{name}", words, labels=["engine", label])
        known: Sequence[str] = list(values)
        for engine, stream in self._vitals.streams.items():
            for value in known:
                family.add_metric([engine, value], counts(stream.tally).get(value, 0))
        return family
