"""Parsing one record into an event."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import Event, Origin, ParseErrorKind
from relay.ingest.docker.engine.parser import MAX_TIME_NS, InvalidRecord, parse_event
from tests.streams import ENGINES, read_records

DIE = {
    "Type": "container",
    "Action": "die",
    "Actor": {"ID": "075a", "Attributes": {"image": "bb:1", "name": "web", "exitCode": "3"}},
    "scope": "local",
    "time": 1795416514,
    "timeNano": 1795416514938518046,
}


def parse(record: dict[str, Any] | bytes, live_from_ns: int = 0) -> Event | InvalidRecord:
    content = record if isinstance(record, bytes) else json.dumps(record).encode()
    return parse_event(content, engine="here", host="node-1", live_from_ns=live_from_ns)


def parse_valid(**changes: Any) -> Event:
    """Return the event of a death with these changes."""
    found = parse({**DIE, **changes})
    assert isinstance(found, Event)
    return found


def parse_invalid(record: dict[str, Any] | bytes) -> ParseErrorKind:
    """Return what is wrong with a record."""
    found = parse(record)
    assert isinstance(found, InvalidRecord)
    return found.error


@contextmanager
def unlimited_digits() -> Iterator[None]:
    """Let Python write integers of any length as text."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(limit)


def test_a_death_is_parsed_completely() -> None:
    """Names, image, exit code and the engine's nanoseconds are kept."""
    death = parse_valid()
    assert (death.engine, death.host) == ("here", "node-1")
    assert (death.type, death.action, death.detail) == ("container", "die", None)
    assert (death.actor.id, death.actor.name, death.actor.image) == ("075a", "web", "bb:1")
    assert (death.exit_code, death.signal, death.time_ns) == (3, None, 1795416514938518046)


def test_the_detail_is_separated_from_the_action() -> None:
    """``health_status: unhealthy`` is an action, its detail and a health."""
    sick = parse_valid(Action="health_status: unhealthy")
    assert (sick.action, sick.detail, sick.health) == ("health_status", "unhealthy", "unhealthy")


@pytest.mark.parametrize("health", ["starting", "healthy", "unhealthy"])
def test_podmans_health_has_a_field_of_its_own(health: str) -> None:
    """It becomes the detail, as Docker writes it, so that the same routes match it."""
    sick = parse_valid(Action="health_status", HealthStatus=health)
    assert (sick.action, sick.detail, sick.health) == ("health_status", health, health)
    assert parse_valid(HealthStatus=health).health is None
    assert parse_valid(HealthStatus=health).detail is None


@pytest.mark.parametrize("health", ["", None, 3, {}])
def test_a_health_that_is_missing(health: object) -> None:
    """The event is kept."""
    found = parse_valid(Action="health_status", HealthStatus=health)
    assert (found.action, found.detail, found.health) == ("health_status", None, None)


def test_a_detail_may_contain_colons() -> None:
    """Only the first separator counts."""
    assert parse_valid(Action="exec_create: sh -c 'a: b' ").detail == "sh -c 'a: b'"


def test_an_exit_code_belongs_to_deaths_only() -> None:
    """With any other action ``exitCode`` is a label."""
    assert parse_valid(Action="start").exit_code is None


def test_podman_names_the_exit_code_differently() -> None:
    """``containerExitCode`` counts if ``exitCode`` is missing."""
    actor = {"ID": "1", "Attributes": {"containerExitCode": "137"}}
    assert parse_valid(Actor=actor).exit_code == 137


def test_podmans_exit_code_counts_on_ends_only() -> None:
    """On other events it is always 0; Docker's ``exec_die`` has the usual attribute."""
    actor = {"ID": "1", "Attributes": {"containerExitCode": "6"}}
    assert parse_valid(Action="exec_died", Actor=actor).exit_code == 6
    assert parse_valid(Action="start", Actor=actor).exit_code is None
    assert parse_valid(Action="exec_die", Actor=actor).exit_code is None
    actor = {"ID": "1", "Attributes": {"exitCode": "6", "containerExitCode": "0"}}
    assert parse_valid(Action="exec_die", Actor=actor).exit_code == 6
    assert parse_valid(Action="exec_died", Actor=actor).exit_code == 0


def test_podman_sends_no_signal() -> None:
    """Its ``signal`` attribute is a label, also in a record that had to be repaired."""
    kill = {**DIE, "Action": "kill", "Actor": {"ID": "1", "Attributes": {"signal": "15"}}}
    for record in (json.dumps(kill).encode(), json.dumps(kill).encode()[:-1] + b',"x":"\xff"}'):
        found = parse_event(record, engine="here", host="node-1", live_from_ns=0, podman=True)
        assert isinstance(found, Event)
        assert found.signal is None
        assert found.actor.attributes == {"signal": "15"}


def test_a_signal_belongs_to_kills_only() -> None:
    """With any other action ``signal`` is a label."""
    actor = {"ID": "1", "Attributes": {"signal": "15"}}
    assert parse_valid(Actor=actor).signal is None
    assert parse_valid(Action="kill", Actor=actor).signal == 15


@pytest.mark.parametrize("text", ["", "x", "1e3", "9" * 400, "²", "0x1"])
def test_an_exit_code_that_is_no_number_is_none(text: str) -> None:
    """A label that replaces the real value cannot break anything."""
    assert parse_valid(Actor={"ID": "1", "Attributes": {"exitCode": text}}).exit_code is None


def test_a_volume_is_named_by_its_id_and_an_image_by_itself() -> None:
    """Neither has a name attribute of its own."""
    volume = parse_valid(Type="volume", Action="create", Actor={"ID": "v1", "Attributes": {}})
    assert volume.actor.name == "v1"
    image = parse_valid(Type="image", Actor={"ID": "sha256:1", "Attributes": {"name": "bb:1"}})
    assert image.actor.image == "bb:1"


def test_an_event_older_than_the_stream_is_replayed() -> None:
    """What happened before the stream was opened came from the history."""
    found = parse(DIE, live_from_ns=DIE["timeNano"] + 1)  # type: ignore[operator]
    assert isinstance(found, Event)
    assert found.origin is Origin.REPLAYED


def test_seconds_replace_missing_nanoseconds() -> None:
    """An engine that sends ``time`` only is understood."""
    assert parse_valid(timeNano=0).time_ns == 1795416514_000000000


def test_the_old_top_level_fields_are_never_read() -> None:
    """The old top-level fields may contain anything."""
    assert parse_valid(status="start", id=7, **{"from": None}) == parse_valid()


def test_the_id_depends_on_what_distinguishes_events() -> None:
    """Other attributes make another id; another origin does not."""
    other = {"ID": "075a", "Attributes": {"image": "bb:1", "name": "web", "exitCode": "4"}}
    assert parse_valid(Actor=other).id != parse_valid().id
    replayed = parse(DIE, live_from_ns=2**62)
    assert isinstance(replayed, Event)
    assert replayed.id == parse_valid().id


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    """No event is lost because of one label."""
    record = json.dumps(DIE).encode().replace(b'"web"', b'"w\xffb"')
    found = parse(record)
    assert isinstance(found, Event)
    assert found.actor.name == "w\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("record", [b"", b"nonsense", b'{"Type":', b"<html>", b"\xff", b"{}{}"])
def test_invalid_json(record: bytes) -> None:
    """Invalid JSON is distinguished from JSON that is not an event."""
    assert parse_invalid(record) is ParseErrorKind.NOT_JSON


@pytest.mark.parametrize("missing", ["Type", "Action"])
def test_a_missing_field(missing: str) -> None:
    """Without a type or an action there is no event."""
    assert (
        parse_invalid({key: value for key, value in DIE.items() if key != missing})
        is ParseErrorKind.MISSING_FIELD
    )


def test_a_missing_time() -> None:
    """Without any time there is no event."""
    assert parse_invalid({**DIE, "time": 0, "timeNano": 0}) is ParseErrorKind.MISSING_FIELD


@pytest.mark.parametrize(
    "change",
    [
        {"time": 10**12, "timeNano": 0},
        {"time": 1 << 62, "timeNano": 2**63},
        {"time": -1, "timeNano": -1},
        {"Type": 1},
        {"Action": None},
        {"time": "soon", "timeNano": []},
        {"time": 10**5000, "timeNano": 0},
    ],
)
def test_odd_types(change: dict[str, Any]) -> None:
    """Without a type, an action and a time that relay can store, there is no event."""
    with unlimited_digits():
        assert parse_invalid({**DIE, **change}) is ParseErrorKind.ODD_TYPE


@pytest.mark.parametrize("time_ns", [2**63, 2**63 - 1, MAX_TIME_NS, -1, "soon", None, 1.5, []])
def test_an_odd_time_is_replaced_by_the_seconds(time_ns: object) -> None:
    """Of the two times one is enough."""
    assert parse_valid(timeNano=time_ns).time_ns == 1795416514_000000000


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (3, "3"),
        (-1.50, "-1.5"),
        (10**30, "1" + "0" * 30),
        (True, "true"),
        (None, "null"),
        ({"a": [1, "é"]}, '{"a": ["1", "é"]}'),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
    ],
)
def test_an_odd_attribute_is_kept_as_text(value: object, kept: str) -> None:
    """An attribute that is no string, or half a surrogate pair, costs no event."""
    actor = {"ID": "1", "Attributes": {"name": "web", "exitCode": "3", "odd": value}}
    death = parse_valid(Actor=actor)
    assert death.actor.attributes == {"name": "web", "exitCode": "3", "odd": kept}
    assert (death.actor.id, death.actor.name, death.exit_code) == ("1", "web", 3)
    msgspec.json.encode(death)


@pytest.mark.parametrize("actor", [None, [], "x", 1, {"ID": []}, {"Attributes": ["a"]}])
def test_an_odd_actor_is_left_out(actor: object) -> None:
    """Nothing is known then of what the event is about, but the event is kept."""
    death = parse_valid(Actor=actor, status={"odd": []}, scope=3)
    assert (death.actor.id, death.actor.attributes, death.scope) == ("", {}, "local")


def test_half_a_pair_in_a_name_of_an_attribute() -> None:
    """Names are repaired like values."""
    actor = {"ID": "\udc00", "Attributes": {"\ud800": "x"}}
    death = parse_valid(Actor=actor)
    assert (death.actor.id, death.actor.attributes) == ("\ufffd", {"\ufffd": "x"})


def test_an_engine_cannot_forge_an_event_of_relay() -> None:
    """An engine's event of relay's type gets another one, and so another id."""
    gap = {**DIE, "Type": "relay", "Action": "gap"}
    forged = parse(gap)
    own = parse_event(
        json.dumps(gap).encode(), engine="here", host="x", live_from_ns=0, may_be_relay=True
    )
    assert isinstance(forged, Event)
    assert isinstance(own, Event)
    assert (forged.type, own.type) == ("engine-relay", "relay")
    assert forged.id != own.id


def test_a_deeply_nested_record() -> None:
    """A deeply nested record is invalid, and nothing overflows."""
    deep = b'{"x":' * 50_000
    assert (
        parse_invalid(b'{"Type":"a","Action":"b","time":1,"x":' + deep) is ParseErrorKind.NOT_JSON
    )


def test_a_list_is_an_odd_type() -> None:
    """A list is JSON, but not an object."""
    assert parse_invalid(b"[1]") is ParseErrorKind.ODD_TYPE


def test_only_the_head_of_an_invalid_record_is_kept() -> None:
    """Only the first bytes of an invalid record are kept for the log."""
    found = parse(b"x" * 1000)
    assert isinstance(found, InvalidRecord)
    assert found.head == b"x" * 200


def test_an_event_with_no_attributes() -> None:
    """Attributes that are null or absent count as empty."""
    assert parse_valid(Actor={"ID": "1", "Attributes": None}).actor.attributes == {}
    assert parse_valid(Actor=None).actor.id == ""


@given(st.binary())
def test_no_bytes_raise(record: bytes) -> None:
    """Any bytes are an event or an invalid record."""
    parse(record)


@pytest.mark.parametrize("engine", ENGINES)
def test_recorded_streams_are_parsed_completely(engine: str) -> None:
    """Every line of a real engine is an event, and no two have the same id."""
    events = [parse(line) for line in read_records(engine)]
    assert all(isinstance(found, Event) for found in events)
    assert len({found.id for found in events if isinstance(found, Event)}) == len(events)
