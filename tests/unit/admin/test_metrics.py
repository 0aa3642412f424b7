"""What relay counted, as Prometheus reads it."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from relay import __version__
from relay.admin.metrics import OUTCOMES, render_metrics
from relay.admin.status import ReloadStatus, StatusSnapshot
from relay.config import RetryConfig
from relay.core.counters import LATENCY_BUCKETS_S, DestinationCounters, EngineCounters
from relay.core.exchange import Reason, Response, outcome_kind
from relay.core.status import DestinationStatus, EngineSnapshot
from relay.delivery.retry import Attempt, classify
from relay.destinations.responses import parse_slack
from relay.store.faults import StoreFault, StoreStatus
from relay.store.records import Backlog

NOW_NS = 1_795_420_000 * 10**9
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "metrics.md"


def vitals(tally: EngineCounters | None = None, store: StoreStatus | None = None) -> StatusSnapshot:
    return StatusSnapshot(
        {"here": EngineSnapshot(tally or EngineCounters(), is_open=tally is not None)},
        {"hook": DestinationCounters()},
        {"hook": DestinationStatus()},
        store or StoreStatus(),
        {"crashed": 0},
        0,
        ReloadStatus(0),
        NOW_NS,
    )


def samples(
    vitals: StatusSnapshot, backlog: Mapping[str, Backlog] | None = None
) -> dict[str, float]:
    """Every line of the exposition: its name with its labels, and its value."""
    families = text_string_to_metric_families(render_metrics(vitals, backlog).decode())
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in families
        for sample in family.samples
    }


def test_all_are_there_from_the_start() -> None:
    """Each with every value of its labels, and zero."""
    found = samples(vitals(), {})
    assert found.pop(f"relay_build_info {__version__}") == 1
    assert found.pop("relay_config_last_reload_successful") == 1
    assert set(found.values()) == {0.0}
    assert sorted(found) == sorted(
        [
            "relay_config_loaded_timestamp_seconds",
            "relay_config_reloads_total failure",
            "relay_config_reloads_total success",
            "relay_events_received_total here",
            "relay_events_taken_in_total here",
            "relay_events_repeated_total here",
            "relay_reconnects_total here",
            "relay_deliveries_shed_total here",
            "relay_dead_letters_shed_total here",
            "relay_stream_open here",
            "relay_last_event_timestamp_seconds here",
            "relay_records_malformed_total here not_json",
            "relay_records_malformed_total here missing_field",
            "relay_records_malformed_total here odd_type",
            "relay_records_dropped_total here buffer_full",
            "relay_records_dropped_total here record_too_long",
            "relay_gaps_total here history_overrun",
            "relay_gaps_total here engine_restarted",
            "relay_gaps_total here another_engine",
            "relay_gaps_total here clock_set_back",
            "relay_gaps_total here buffer_full",
            "relay_gaps_total here record_too_long",
            "relay_gaps_total here unproven",
            "relay_events_inferred_total die here",
            "relay_events_inferred_total oom here",
            *(f"relay_delivery_attempts_total hook {what} {why}" for what, why in OUTCOMES),
            "relay_dead_letters_total hook",
            "relay_dead_letters_removed_total",
            "relay_template_failures_total hook",
            "relay_destination_failing hook",
            "relay_destination_stopped hook",
            "relay_deliveries_pending hook",
            "relay_oldest_delivery_age_seconds hook",
            "relay_route_matches_total crashed",
            *(f"relay_delivery_latency_seconds_bucket hook {bound}" for bound in LATENCY_BUCKETS_S),
            "relay_delivery_latency_seconds_bucket hook +Inf",
            "relay_delivery_latency_seconds_count hook",
            "relay_delivery_latency_seconds_sum hook",
            *(f"relay_store_failing {trouble.value}" for trouble in StoreFault),
        ]
    )


def test_what_came_of_reloads() -> None:
    """How many there were of each kind, whether the last succeeded, and what is in force since."""
    loading = ReloadStatus(1_500_000_000, last_error="routes: is missing", successes=3, failures=2)
    found = samples(replace(vitals(), reload=loading))
    assert found["relay_config_last_reload_successful"] == 0
    assert found["relay_config_loaded_timestamp_seconds"] == 1.5
    assert found["relay_config_reloads_total success"] == 3
    assert found["relay_config_reloads_total failure"] == 2


def test_what_was_counted() -> None:
    """Each number is where it belongs."""
    tally = EngineCounters(
        opened=5,
        received=9,
        accepted=6,
        duplicates=3,
        evicted=4,
        evicted_dead_letters=5,
        last_event_ns=1_500_000_000,
    )
    tally.malformed["not_json"] = 5
    tally.dropped["buffer_full"] = 7
    tally.gaps["unproven"] = 8
    tally.inferred["oom"] = 10
    shown = vitals(tally, StoreStatus(1, StoreFault.FULL))
    shown.destination_counters["hook"].attempts["retry", Reason.UNAVAILABLE] = 11
    shown.destination_counters["hook"].attempts["dead", Reason.EXPIRED] = 12
    shown.destination_counters["hook"].expired = 14
    shown.destination_counters["hook"].template_failures = 15
    shown = replace(
        shown,
        destination_status={"hook": DestinationStatus(stopped=True, failing=True)},
        route_matches={"crashed": 16},
    )
    waiting = {"hook": Backlog(13, NOW_NS - 17_500_000_000)}
    found = {name: value for name, value in samples(shown, waiting).items() if value}
    assert found.pop(f"relay_build_info {__version__}") == 1
    assert found.pop("relay_config_last_reload_successful") == 1
    assert found == {
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
        "relay_destination_failing hook": 1,
        "relay_destination_stopped hook": 1,
        "relay_deliveries_pending hook": 13,
        "relay_oldest_delivery_age_seconds hook": 17.5,
        "relay_route_matches_total crashed": 16,
        "relay_store_failing full": 1,
    }


def test_latencies() -> None:
    """Each is counted at every bound that it does not exceed; what seems negative is zero."""
    shown = vitals()
    for seconds in (-3, 0.1, 2, 3600, 10**6):
        shown.destination_counters["hook"].latencies.observe(seconds)
    name = "relay_delivery_latency_seconds"
    found = {key: value for key, value in samples(shown).items() if key.startswith(name)}
    counts = [found[f"{name}_bucket hook {bound}"] for bound in (*LATENCY_BUCKETS_S, "+Inf")]
    assert counts == [2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5]
    assert found[f"{name}_count hook"] == 5
    assert found[f"{name}_sum hook"] == 1_003_602.1


def test_a_store_that_does_not_say_what_waits() -> None:
    """No number is better than a wrong one."""
    found = samples(vitals(), None)
    assert "relay_deliveries_pending hook" not in found
    assert "relay_oldest_delivery_age_seconds hook" not in found


def test_what_is_newer_than_the_look_at_the_clock() -> None:
    """No age is negative."""
    found = samples(vitals(), {"hook": Backlog(1, NOW_NS + 1)})
    assert found["relay_oldest_delivery_age_seconds hook"] == 0


def test_destinations_that_are_no_more() -> None:
    """What waits for them makes no labels."""
    assert not [name for name in samples(vitals(), {"old-hook": Backlog(3, 1)}) if "old-" in name]


def test_every_verdict_has_its_place() -> None:
    """Whatever an attempt can come to is among those that are shown, and nothing else is."""
    failures = (Reason.TIMEOUT, Reason.NAME_NOT_FOUND, Reason.TLS, Reason.CONNECTION)
    responses = [
        *(Response(None, failure=reason) for reason in failures),
        *(Response(status) for status in range(200, 600)),
        Response(200, b"no_such_thing"),
    ]
    outcomes = [
        classify(
            response,
            Attempt(earlier, age_s, random_fraction=0.5),
            RetryConfig(max_attempts=9),
            parse_slack,
        )
        for response in responses
        for earlier, age_s in ((0, 0), (8, 0), (0, 10**6))
    ]
    assert {(outcome_kind(outcome), outcome.reason) for outcome in outcomes} == set(OUTCOMES)


def _documented(family: Metric, sample: Sample) -> str:
    """A histogram is one, whatever lines it has."""
    return family.name if family.type == "histogram" else sample.name


def test_all_are_documented() -> None:
    """docs/metrics.md has a row for each, with its labels, and for no other."""
    families = text_string_to_metric_families(render_metrics(vitals(), {}).decode())
    shown = {
        _documented(family, sample): ", ".join(
            f"`{label}`" for label in sample.labels if label != "le"
        )
        for family in families
        for sample in family.samples
    }
    rows = re.findall(r"^\| `(relay_\w+)` \| ([^|]*) \|", DOCUMENTATION.read_text(), re.MULTILINE)
    assert dict(rows) == shown
