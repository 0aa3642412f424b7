"""The benchmark in small: what it measures is really delivered. Nothing is timed."""

import json
from functools import partial
from itertools import count, islice, pairwise
from pathlib import Path

import pytest

from relay.ingest.docker.engine.container_list import ContainerListParser
from relay.ingest.docker.engine.inspection import parse_inspection
from tools.bench.__main__ import main
from tools.bench.candidates import make_routes, relay, script
from tools.bench.containers import Containers
from tools.bench.events import ALIVE, LIFE_ACTIONS, Event, Kind, Order, add_time, events
from tools.bench.run import Candidate, count_stored, start_run, wait_until_stored
from tools.bench.scenarios import SCENARIOS
from tools.bench.store_filler import fill
from tools.bench.table import Row, lines

FEW = 300
NOW_NS = 1_800_000_000_123_456_789


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("candidate", [relay, script])
def test_all_is_delivered_once(candidate: Candidate, order: Order) -> None:
    """Every event of a flood and of a slow stream reaches the sink, and none twice."""
    with start_run(candidate) as run:
        assert run.flood(FEW, order=order).events == FEW
        assert run.sink.ask("report") | {"events": FEW, "repeated": 0} == run.sink.ask("report")
        run.pace(per_s=500, seconds=0.2, order=order)
        assert run.sink.ask("report") | {"events": 100, "repeated": 0} == run.sink.ask("report")
        assert run.subscribed_s > 0


def test_a_batch_delivers_each_event() -> None:
    """With many notifications in one request the sink still counts each event once."""
    with start_run(partial(relay, to={"batch": {}})) as run:
        run.flood(FEW)
        assert run.sink.ask("report") | {"events": FEW, "repeated": 0} == run.sink.ask("report")


def test_what_hangs_is_delivered_after_recovery() -> None:
    """relay keeps what a hanging sink does not take, and the sink gets all of it in the end."""
    with start_run(relay) as run:
        run.hang(FEW, wait_until_stored)
        assert run.sink.ask("report")["events"] == FEW


@pytest.mark.parametrize("kind", [Kind.OTHER, Kind.NOISE])
def test_what_no_route_wants_is_not_delivered(kind: Kind) -> None:
    """Of events with another label or action relay delivers none, and the script all."""
    with start_run(partial(relay, routes=make_routes(1, LIFE_ACTIONS))) as run:
        run.flood(FEW, kind)
        assert run.sink.ask("report")["events"] == 1  # the last one, which is wanted
    with start_run(script) as run:
        run.flood(FEW, kind)
        assert run.sink.ask("report")["events"] == FEW + 1


def test_large_records_reach_every_slow_destination() -> None:
    """Each destination gets each large record, however slow it is."""
    with start_run(partial(relay, destinations=2)) as run:
        run.weigh(4, record_bytes=3_000_000, destinations=2)
        assert run.sink.ask("report")["events"] == 8


def test_a_filled_store_is_delivered(tmp_path: Path) -> None:
    """What a store was filled with for the start with a backlog waits for relay's destination."""
    fill(tmp_path / "relay.db", 100)
    assert count_stored(tmp_path / "relay.db") == 100
    with start_run(relay, tmp_path) as run:
        run.sink.ask("wait", count=100)
        assert run.sink.ask("report")["events"] == 100


def sample(kind: Kind = Kind.WANTED, order: Order = Order.TURNS, size: int = 2_000) -> list[Event]:
    """The first events of a kind."""
    return list(islice(events(kind, order, count()), size))


def actions_by_container(made: list[Event]) -> dict[str, list[str]]:
    """The actions of each container, in order."""
    found: dict[str, list[str]] = {}
    for event in made:
        found.setdefault(event.container.id, []).append(event.action)
    return found


@pytest.mark.parametrize("order", Order)
def test_containers_come_and_go(order: Order) -> None:
    """Each container is created first and removed last, and never more than `ALIVE` exist."""
    existing: set[str] = set()
    for event in sample(order=order):
        existing.add(event.container.id)
        assert len(existing) <= (ALIVE if order is Order.TURNS else 1)
        if event.action == "destroy":
            existing.remove(event.container.id)
    lives = actions_by_container(sample(order=order)).values()
    ended = [actions for actions in lives if actions[-1] == "destroy"]
    assert all(actions[0] == "create" for actions in lives)
    assert all(actions.count("destroy") <= 1 for actions in lives)
    assert len(ended) >= len(lives) - ALIVE
    assert {len(actions) for actions in ended} == {4, 5, 6}


def test_containers_take_turns_or_follow_each_other() -> None:
    """In turns no container has two events in a row; in a burst it has all of its events so."""
    turns = [event.container.id for event in sample()]
    assert all(one != next_ for one, next_ in pairwise(turns))
    burst = [event.container.id for event in sample(order=Order.BURST)]
    changes = sum(one != next_ for one, next_ in pairwise(burst))
    assert changes == len(set(burst)) - 1


def test_a_containers_labels_do_not_change() -> None:
    """Nothing is in an event for the measurement: a container's events have the same labels."""
    for event in sample(size=200):
        attributes = json.loads(add_time(event.head(), NOW_NS))["Actor"]["Attributes"]
        own = {"name", "image", *event.attributes}
        labels = {key: value for key, value in attributes.items() if key not in own}
        assert labels == event.container.labels


def test_an_event_is_as_docker_writes_it() -> None:
    """An event is a line of JSON of usual length, with its time in seconds and nanoseconds."""
    records = [add_time(event.head(), NOW_NS) for event in sample(size=500)]
    assert 750 < sum(map(len, records)) / len(records) < 950
    for record in records:
        assert record.endswith(b"\n")
        event = json.loads(record)
        assert (event["time"], event["timeNano"]) == (NOW_NS // 10**9, NOW_NS)


def test_a_padded_record_is_as_large_as_asked_for() -> None:
    """A record for the weight is about as large as it is to be, and hardly compresses."""
    event = next(events(Kind.WANTED, Order.TURNS, count(), padding=300_000))
    assert 300_000 <= len(event.head()) < 302_000
    assert len(set(event.container.labels["com.example.manifest"])) == 64


def test_the_engine_shows_its_containers() -> None:
    """List and inspection agree with the events, and relay can read both."""
    containers = Containers()
    made = sample(size=4 * ALIVE)
    for number, event in enumerate(made):
        containers.apply(event, NOW_NS + number)
    parser = ContainerListParser()
    parser.feed(json.dumps(containers.list_all()).encode())
    states = parser.states()
    for container_id, actions in actions_by_container(made).items():
        found = containers.inspect(container_id)
        if actions[-1] == "destroy":
            assert found is None
            assert container_id not in states
            continue
        body = json.dumps(found).encode()
        assert 4_000 < len(body) < 8_000
        snapshot = parse_inspection(body)
        assert snapshot is not None
        assert snapshot.is_running == ("die" not in actions and "start" in actions)
        assert states[container_id] == ("running" if snapshot.is_running else "exited")


def test_a_ratio_is_judged_by_its_median() -> None:
    """A row shows the ratios pair by pair, and whether their median meets the goal."""
    row = Row("flood", "CPU per event", "µs", [2, 9, 3], [4, 4, 4], goal=0.75)
    assert row.results == [0.5, 0.75, 2.25]
    assert row.is_met
    assert "script 4" in lines([row])[2]
    assert lines([row])[2].endswith("| ≤ × 0.75 | met |")


def test_a_rate_has_to_reach_its_goal() -> None:
    """If more is better, a goal is the least that is wanted."""
    row = Row("flood", "rate", "events/s", [200, 200], [100, 100], goal=3, is_rate=True)
    assert not row.is_met
    assert lines([row])[2].endswith("| ≥ × 3 | missed |")


def test_scenarios_are_printed_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each pair's values are printed for programs, and how busy the machine was beside it."""
    monkeypatch.setattr("tools.bench.scenarios.FLOOD", 50)
    monkeypatch.setattr("sys.argv", ["bench", "flood", "start", "--pairs", "1", "--json"])
    assert main() == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["scenario"], row["what"]) for row in rows] == [
        ("flood", "rate"),
        ("flood", "CPU per event"),
        ("flood", "peak RSS"),
        ("flood", "busier of engine and sink"),
        ("flood", "other work on this machine"),
        ("start", "start to subscription"),
        ("start", "other work on this machine"),
    ]
    assert all(len(row["relay"]) == 1 for row in rows)
    assert [len(row["base"]) for row in rows] == [1, 1, 1, 0, 0, 1, 0]


def test_an_unknown_scenario_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the scenarios that there are."""
    monkeypatch.setattr("sys.argv", ["bench", "flod"])
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().err
    assert "no scenario 'flod'" in printed
    assert all(name in printed for name in SCENARIOS)
