"""The metrics that relay shows to Prometheus."""

import re
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from relay import __version__
from relay.admin.health import ReloadStatus, StatusSnapshot
from relay.admin.metrics import OUTCOMES, render_metrics
from relay.config import RetryConfig
from relay.core.counters import (
    LATENCY_BUCKETS_S,
    REFRESH_OUTCOMES,
    DestinationCounters,
    EngineCounters,
    EngineSnapshot,
)
from relay.core.exchange import Reason, Response, ResponseHint, outcome_kind
from relay.core.severity import Severity
from relay.core.status import DestinationStatus, SourceBacklog, StreamStatus
from relay.delivery.retry import Attempt, classify
from relay.incidents.held import HeldReason
from relay.incidents.view import IncidentCounts
from relay.store.faults import StoreFault, StoreStatus
from relay.store.records import Backlog

NOW_NS = 1_795_420_000 * 10**9
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "metrics.md"


def make_snapshot(
    counters: EngineCounters | None = None, store: StoreStatus | None = None
) -> StatusSnapshot:
    return StatusSnapshot(
        {"here": EngineSnapshot(counters or EngineCounters(), is_open=counters is not None)},
        {"hook": DestinationCounters()},
        {"hook": DestinationStatus()},
        store or StoreStatus(),
        {"crashed": 0},
        0,
        ReloadStatus(0),
        NOW_NS,
    )


def make_hub(backlog: SourceBacklog | None, *, is_standby: bool = False) -> EngineSnapshot:
    """Return an engine that is a NATS stream."""
    stream = StreamStatus(True, 0, 0, 0, is_standby=is_standby, backlog=backlog)
    return EngineSnapshot(EngineCounters(), is_open=True, stream=stream)


def make_hub_snapshot() -> StatusSnapshot:
    """Return the snapshot of a relay that serves every metric."""
    hub = make_hub(SourceBacklog(0, 0, 0))
    return replace(make_snapshot(), streams={**make_snapshot().streams, "fleet": hub})


def read_samples(
    snapshot: StatusSnapshot, backlog: Mapping[str, Backlog] | None = None
) -> dict[str, float]:
    """Return every sample, by its name with its labels."""
    families = text_string_to_metric_families(render_metrics(snapshot, backlog).decode())
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_series_exists_from_the_start() -> None:
    """Each metric has every value of its labels, and is zero."""
    samples = read_samples(make_snapshot(), {})
    assert samples.pop(f"relay_build_info {__version__}") == 1
    assert samples.pop("relay_config_last_reload_successful") == 1
    assert set(samples.values()) == {0.0}
    assert sorted(samples) == sorted(
        [
            "relay_config_loaded_timestamp_seconds",
            "relay_config_reloads_total failure",
            "relay_config_reloads_total success",
            *(f"relay_incidents_open hook {it}" for it in ("info", "warning", "critical")),
            *(f"relay_events_held_total hook {it}" for it in HeldReason),
            "relay_silences_active",
            "relay_events_received_total here",
            "relay_events_taken_in_total here",
            "relay_events_repeated_total here",
            "relay_reconnects_total here",
            "relay_deliveries_shed_total here",
            "relay_dead_letters_shed_total here",
            "relay_stream_open here",
            "relay_stream_standby here",
            "relay_last_event_timestamp_seconds here",
            "relay_records_malformed_total here not_json",
            "relay_records_malformed_total here missing_field",
            "relay_records_malformed_total here odd_type",
            "relay_records_dropped_total here buffer_full",
            "relay_records_dropped_total here record_too_long",
            "relay_records_dropped_total here record_invalid",
            "relay_gaps_total here history_overrun",
            "relay_gaps_total here engine_restarted",
            "relay_gaps_total here another_engine",
            "relay_gaps_total here clock_set_back",
            "relay_gaps_total here buffer_full",
            "relay_gaps_total here record_too_long",
            "relay_gaps_total here record_invalid",
            "relay_gaps_total here containers_full",
            "relay_gaps_total here unproven",
            "relay_events_inferred_total die here",
            "relay_events_inferred_total oom here",
            *(f"relay_delivery_attempts_total hook {what} {why}" for what, why in OUTCOMES),
            "relay_dead_letters_total hook",
            "relay_dead_letters_removed_total",
            "relay_template_failures_total hook",
            *(f"relay_refreshes_total hook {outcome}" for outcome in REFRESH_OUTCOMES),
            "relay_destination_failing hook",
            "relay_destination_stopped hook",
            "relay_destination_disconnected hook",
            "relay_deliveries_pending hook",
            "relay_oldest_delivery_age_seconds hook",
            "relay_route_matches_total crashed",
            *(f"relay_delivery_latency_seconds_bucket hook {bound}" for bound in LATENCY_BUCKETS_S),
            "relay_delivery_latency_seconds_bucket hook +Inf",
            "relay_delivery_latency_seconds_count hook",
            "relay_delivery_latency_seconds_sum hook",
            *(f"relay_store_failing {fault.value}" for fault in StoreFault),
        ]
    )


def test_reloads() -> None:
    """Successes, failures, the last outcome, and when the configuration was read."""
    reload = ReloadStatus(1_500_000_000, last_error="routes: is missing", successes=3, failures=2)
    samples = read_samples(replace(make_snapshot(), reload=reload))
    assert samples["relay_config_last_reload_successful"] == 0
    assert samples["relay_config_loaded_timestamp_seconds"] == 1.5
    assert samples["relay_config_reloads_total success"] == 3
    assert samples["relay_config_reloads_total failure"] == 2


def test_counters() -> None:
    """Every counter is shown under its own name."""
    counters = EngineCounters(
        opened=5,
        received=9,
        accepted=6,
        duplicates=3,
        evicted=4,
        evicted_dead_letters=5,
        last_event_ns=1_500_000_000,
    )
    counters.malformed["not_json"] = 5
    counters.dropped["buffer_full"] = 7
    counters.gaps["unproven"] = 8
    counters.inferred["oom"] = 10
    snapshot = make_snapshot(counters, StoreStatus(1, StoreFault.FULL))
    snapshot.destination_counters["hook"].attempts["retry", Reason.UNAVAILABLE] = 11
    snapshot.destination_counters["hook"].attempts["dead", Reason.EXPIRED] = 12
    snapshot.destination_counters["hook"].expired = 14
    snapshot.destination_counters["hook"].template_failures = 15
    snapshot.destination_counters["hook"].refreshes["failed"] = 17
    snapshot = replace(
        snapshot,
        destination_status={
            "hook": DestinationStatus(stopped=True, failing=True, not_connected="no way")
        },
        route_matches={"crashed": 16},
    )
    backlog = {"hook": Backlog(13, NOW_NS - 17_500_000_000)}
    samples = {name: value for name, value in read_samples(snapshot, backlog).items() if value}
    assert samples.pop(f"relay_build_info {__version__}") == 1
    assert samples.pop("relay_config_last_reload_successful") == 1
    assert samples == {
        "relay_events_received_total here": 9,
        "relay_events_taken_in_total here": 6,
        "relay_events_repeated_total here": 3,
        "relay_reconnects_total here": 4,
        "relay_deliveries_shed_total here": 4,
        "relay_dead_letters_shed_total here": 5,
        "relay_stream_open here": 1,
        "relay_last_event_timestamp_seconds here": 1.5,
        "relay_records_malformed_total here not_json": 5,
        "relay_records_dropped_total here buffer_full": 7,
        "relay_gaps_total here unproven": 8,
        "relay_events_inferred_total oom here": 10,
        "relay_delivery_attempts_total hook retry unavailable": 11,
        "relay_delivery_attempts_total hook dead expired": 12,
        "relay_dead_letters_total hook": 26,
        "relay_template_failures_total hook": 15,
        "relay_refreshes_total hook failed": 17,
        "relay_destination_failing hook": 1,
        "relay_destination_stopped hook": 1,
        "relay_destination_disconnected hook": 1,
        "relay_deliveries_pending hook": 13,
        "relay_oldest_delivery_age_seconds hook": 17.5,
        "relay_route_matches_total crashed": 16,
        "relay_store_failing full": 1,
    }


def test_what_waits_in_a_stream() -> None:
    """Of an engine that can say it, and of no other; an active hub and one that stands by."""
    streams = {
        **make_snapshot().streams,
        "fleet": make_hub(SourceBacklog(7, 5, 2)),
        "spare": make_hub(None, is_standby=True),
    }
    samples = read_samples(replace(make_snapshot(), streams=streams))
    found = {name: value for name, value in samples.items() if name.startswith("relay_stream_")}
    assert found == {
        "relay_stream_open here": 0,
        "relay_stream_open fleet": 1,
        "relay_stream_open spare": 1,
        "relay_stream_standby here": 0,
        "relay_stream_standby fleet": 0,
        "relay_stream_standby spare": 1,
        "relay_stream_pending_messages fleet": 7,
        "relay_stream_unacknowledged_messages fleet": 5,
        "relay_stream_redelivered_messages fleet": 2,
    }


def test_latencies() -> None:
    """A latency counts in every bucket that it does not exceed; a negative one counts as 0."""
    snapshot = make_snapshot()
    for seconds in (-3, 0.1, 2, 3600, 10**6):
        snapshot.destination_counters["hook"].latencies.observe(seconds)
    name = "relay_delivery_latency_seconds"
    samples = {key: value for key, value in read_samples(snapshot).items() if key.startswith(name)}
    counts = [samples[f"{name}_bucket hook {bound}"] for bound in (*LATENCY_BUCKETS_S, "+Inf")]
    assert counts == [2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5]
    assert samples[f"{name}_count hook"] == 5
    assert samples[f"{name}_sum hook"] == 1_003_602.1


def test_an_unknown_backlog_is_left_out() -> None:
    """No number is better than a wrong one."""
    samples = read_samples(make_snapshot(), None)
    assert "relay_deliveries_pending hook" not in samples
    assert "relay_oldest_delivery_age_seconds hook" not in samples


def test_a_delivery_newer_than_the_snapshot() -> None:
    """No age is negative."""
    samples = read_samples(make_snapshot(), {"hook": Backlog(1, NOW_NS + 1)})
    assert samples["relay_oldest_delivery_age_seconds hook"] == 0


def test_removed_destinations() -> None:
    """A destination that is no longer configured has no labels."""
    assert not [
        name
        for name in read_samples(make_snapshot(), {"old-hook": Backlog(3, 1)})
        if "old-" in name
    ]


def test_every_outcome_is_a_series() -> None:
    """`OUTCOMES` is exactly what an attempt can come to."""
    failures = (Reason.TIMEOUT, Reason.NAME_NOT_FOUND, Reason.TLS, Reason.CONNECTION)
    responses = [
        *(Response(None, failure=reason) for reason in failures),
        *(Response(status) for status in range(200, 600)),
        Response(200, hint=ResponseHint(is_rejected=True)),
        Response(200, hint=ResponseHint(unexpected="a web page")),
    ]
    outcomes = [
        classify(
            response,
            Attempt(earlier, age_s, random_fraction=0.5),
            RetryConfig(max_attempts=9),
        )
        for response in responses
        for earlier, age_s in ((0, 0), (8, 0), (0, 10**6))
    ]
    assert {(outcome_kind(outcome), outcome.reason) for outcome in outcomes} == set(OUTCOMES)


def _documented_name(family: Metric, sample: Sample) -> str:
    """A histogram is documented as one metric."""
    return family.name if family.type == "histogram" else sample.name


def test_all_are_documented() -> None:
    """docs/metrics.md has one row for each metric, with its labels, and no other rows."""
    families = text_string_to_metric_families(render_metrics(make_hub_snapshot(), {}).decode())
    snapshot = {
        _documented_name(family, sample): ", ".join(
            f"`{label}`" for label in sample.labels if label != "le"
        )
        for family in families
        for sample in family.samples
    }
    rows = re.findall(r"^\| `(relay_\w+)` \| ([^|]*) \|", DOCUMENTATION.read_text(), re.MULTILINE)
    assert dict(rows) == snapshot


def test_incidents() -> None:
    """What is open, by severity, and what was held back, of the configured destinations; and how
    many silences there are."""
    counts = IncidentCounts(
        {"hook": {Severity.WARNING: 2}, "gone": {Severity.INFO: 1}}, {"hook": {"brief": 7}}, 3
    )
    families = text_string_to_metric_families(render_metrics(make_snapshot(), {}, counts).decode())
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.value
        and sample.name.startswith(("relay_incidents", "relay_events_held", "relay_sil"))
    }
    assert found == {
        ("relay_incidents_open", "hook", "warning"): 2,
        ("relay_events_held_total", "hook", "brief"): 7,
        ("relay_silences_active",): 3,
    }
