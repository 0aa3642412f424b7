"""The benchmark in small: what it measures is really delivered. Nothing is timed."""

import pytest

from tools.bench.candidates import relay, script
from tools.bench.events import CONTAINERS, Kind, line
from tools.bench.run import Candidate, start_run, wait_until_stored
from tools.bench.table import Row, lines

FEW = 300


@pytest.mark.parametrize("candidate", [relay, script])
def test_all_is_delivered_once(candidate: Candidate) -> None:
    """Every event of a flood and of a slow stream reaches the sink, and none twice."""
    with start_run(candidate) as run:
        run.warm_up()
        assert run.flood(FEW).events == FEW
        assert run.sink.ask("report")["repeated"] == 0
        run.pace(per_s=500, seconds=0.2)
        assert run.sink.ask("report") | {"events": 100, "repeated": 0} == run.sink.ask("report")


def test_what_hangs_is_delivered_after_recovery() -> None:
    """relay keeps what a hanging sink does not take, and the sink gets all of it in the end."""
    with start_run(relay) as run:
        run.warm_up()
        run.burst(FEW, wait_until_stored)
        assert run.sink.ask("report")["events"] == FEW


def test_what_no_route_wants_is_not_delivered() -> None:
    """Of events with another label relay delivers none, and the script all."""
    with start_run(relay) as run:
        run.warm_up()
        run.flood(FEW, Kind.OTHER)
        assert run.sink.ask("report")["events"] == 1  # the last one, which is wanted
    with start_run(script) as run:
        run.warm_up()
        run.flood(FEW, Kind.OTHER)
        assert run.sink.ask("report")["events"] == FEW + 1


def test_an_event_is_as_long_as_real_ones() -> None:
    """An event has some 740 bytes."""
    assert 700 < len(line(Kind.WANTED, CONTAINERS, 10**14, 10**18)) < 780


def test_a_ratio_is_judged_by_its_median() -> None:
    """A row shows the ratios pair by pair, and whether their median meets the goal."""
    row = Row("flood", "CPU per event", "µs", [2, 9, 3], [4, 4, 4], goal=0.75)
    assert row.results == [0.5, 0.75, 2.25]
    assert row.is_met
    assert "script 4" in lines([row])[2]
    assert lines([row])[2].endswith("| × 0.75 | met |")
