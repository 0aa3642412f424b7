"""Groups: what the incidents and events of one message have in common, and when a group is due."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.config.incident_keys import GROUP_FIELDS
from relay.core.event import Event
from relay.incidents.group import OVERFLOW_GROUP, Group, correct_times, find_due, make_group_key
from relay.incidents.policy import DestinationPolicy
from tests.unit.incidents.events import SECOND_NS, die, event, own

COMPOSE = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
STACK = {
    "com.docker.stack.namespace": "blog",
    "com.docker.swarm.service.id": "svc",
    "com.docker.swarm.service.name": "blog_db",
}
EVENTS = {
    "of compose": die(0, "shop-web-1", labels={**COMPOSE, "team": "red"}),
    "of a stack": die(0, "blog_db.1.x7f", labels=STACK, engine="there"),
    "of both": die(0, "c", labels={**COMPOSE, **STACK}),
    "of neither": die(0, "alone", labels={"com.docker.compose.project": "", "team": ""}),
    "without a name": die(0, "", id_="c0ffee"),
    "of a volume": event("destroy", 0, "data", type_="volume"),
    "of an engine": own("engine_lost", 0),
    "of a destination": own("destination_failing", 0, engine="relay", destination="ops"),
}
FIELDS = (*GROUP_FIELDS, "label.team")
MATRIX = {
    # what: host, engine, project, service, image, container, label.team
    "of compose": ("node-1", "here", "shop", "web", "bb:1", "shop-web-1", "red"),
    "of a stack": ("node-1", "there", "blog", "blog_db", "bb:1", "blog_db.1", ""),
    "of both": ("node-1", "here", "shop", "web", "bb:1", "c", ""),
    "of neither": ("node-1", "here", "alone", "alone", "bb:1", "alone", ""),
    "without a name": ("node-1", "here", "c0ffee", "c0ffee", "bb:1", "c0ffee", ""),
    "of a volume": ("node-1", "here", "data", "data", "bb:1", "data", ""),
    "of an engine": ("node-1", "here", "here", "here", "", "here", ""),
    "of a destination": ("node-1", "relay", "ops", "ops", "", "ops", ""),
}
"""By an event of `EVENTS`: the value of each of `FIELDS`."""


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("what", EVENTS)
def test_a_field_of_an_event(what: str, field: str) -> None:
    """Each field alone: what it is, and that nothing else is in the key."""
    value = dict(zip(FIELDS, MATRIX[what], strict=True))[field]
    assert json.loads(make_group_key(EVENTS[what], [field])) == {field: value}


@pytest.mark.parametrize("what", EVENTS)
def test_all_fields_of_an_event(what: str) -> None:
    """Their order in the configuration does not matter."""
    key = make_group_key(EVENTS[what], FIELDS)
    assert json.loads(key) == dict(zip(FIELDS, MATRIX[what], strict=True))
    assert make_group_key(EVENTS[what], FIELDS[::-1]) == key
    assert Group("ops", key).fields == json.loads(key)


@pytest.mark.parametrize("what", EVENTS)
def test_everything_in_one_group(what: str) -> None:
    """Without a field all events have the same group, which is also that of what is too much."""
    assert make_group_key(EVENTS[what], []) == OVERFLOW_GROUP


_values = st.sampled_from(["", "a", "b", '"', "a,b", '{"engine":"x"}', "\n", "é", "x" * 300])


@st.composite
def _events(draw: st.DrawFn) -> Event:
    labels = draw(st.dictionaries(st.sampled_from([*COMPOSE, *STACK, "team"]), _values))
    engine = draw(st.sampled_from(["here", "there"]))
    return die(0, draw(_values) or "n", engine=engine, labels=labels)


@given(_events(), _events(), st.lists(st.sampled_from(FIELDS), unique=True))
def test_the_same_group(one: Event, other: Event, fields: list[str]) -> None:
    """Two events are reported together if each of the fields is equal, and never otherwise."""
    same = all(make_group_key(one, [each]) == make_group_key(other, [each]) for each in fields)
    assert (make_group_key(one, fields) == make_group_key(other, fields)) == same


@given(_events(), st.lists(st.sampled_from(FIELDS), unique=True))
def test_a_value_cannot_forge_a_field(found: Event, fields: list[str]) -> None:
    """Whatever a label holds, the key has these fields and no other, each of bounded length."""
    values = json.loads(make_group_key(found, fields))
    assert set(values) == set(fields)
    assert all(len(value) <= 200 for value in values.values())


def test_long_values_stay_different() -> None:
    """They are cut, with a hash of the whole."""
    keys = {make_group_key(die(0, labels={"a": "x" * 65_000 + end}), ["label.a"]) for end in "yz"}
    assert len(keys) == 2
    assert all(len(key) < 300 for key in keys)


POLICY = DestinationPolicy(group_wait_ns=3 * SECOND_NS, group_interval_ns=60 * SECOND_NS)


@pytest.mark.parametrize(
    ("last_s", "now_s", "due_s"),
    [
        (None, 100, 103),  # its first
        (0, 100, 103),  # the interval is over
        (90, 100, 150),  # it is not
        (43, 100, 103),
        (44, 100, 104),
    ],
)
def test_when_a_group_is_due(last_s: int | None, now_s: int, due_s: int) -> None:
    """After the wait, and no sooner than the interval after the last message."""
    last_ns = None if last_s is None else last_s * SECOND_NS
    group = Group("ops", "{}", last_ns=last_ns)
    assert find_due(group, POLICY, now_s * SECOND_NS) == due_s * SECOND_NS


def test_a_wait_that_is_longer_than_the_interval() -> None:
    """Each update waits that long."""
    policy = replace(POLICY, group_wait_ns=90 * SECOND_NS)
    assert find_due(Group("ops", "{}", last_ns=0), policy, SECOND_NS) == 91 * SECOND_NS


def test_times_after_a_start() -> None:
    """What is due later than the longest wait is due now: the clock or the policy has changed."""
    now_ns = 1_000 * SECOND_NS
    ahead = Group("ops", "{}", last_ns=now_ns + SECOND_NS, due_ns=now_ns + 61 * SECOND_NS)
    assert correct_times(ahead, POLICY, now_ns) == replace(ahead, last_ns=now_ns, due_ns=now_ns)
    usual = Group("ops", "{}", last_ns=now_ns - SECOND_NS, due_ns=now_ns + 59 * SECOND_NS)
    assert correct_times(usual, POLICY, now_ns) is usual
