"""Subjects, evidence, budgets and the schedule."""

from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import Cause
from relay.incidents.destination import (
    BUDGET,
    BUDGET_INTERVAL_NS,
    DestinationState,
    count_budget,
    find_budget_time,
    spend,
)
from relay.incidents.evidence import Fact, find_fact
from relay.incidents.schedule import Schedule
from relay.incidents.subject import bounded, display_name, subject_key
from tests.unit.incidents.events import die, event, health, own, start

SWARM = {"com.docker.swarm.service.id": "svc"}


def test_subjects() -> None:
    """By engine, type and name; a swarm task by its service and slot; relay's own by what it is."""
    assert subject_key(die(0)) == "here/container/web-1"
    assert subject_key(die(0, id_="other")) == subject_key(start(1))
    assert subject_key(die(0, engine="there")) != subject_key(die(0))
    assert subject_key(event("destroy", 0, type_="volume")) == "here/volume/web-1"
    assert subject_key(die(0, "", id_="c0ffee")) == "here/container/c0ffee"
    task = die(0, "web.1.x7f", labels=SWARM)
    assert subject_key(task) == subject_key(start(9, "web.1.b2c", labels=SWARM, engine="there"))
    assert display_name(task) == "web.1"
    assert subject_key(own("engine_lost", 0)) == "relay:engine/here"
    failing = own("destination_failing", 0, engine="relay", destination="ops")
    assert subject_key(failing) == "relay:destination/ops"
    assert display_name(failing) == "ops"


def test_long_names_stay_different() -> None:
    """They are cut, and get a hash."""
    one, other = "n" * 70_000 + "1", "n" * 70_000 + "2"
    assert len(bounded(one)) == len(bounded(other)) < 200
    assert bounded(one) != bounded(other)


def test_facts() -> None:
    """What events say about their subjects; most say nothing."""
    assert find_fact(die(0)) is Fact.DIED
    assert find_fact(die(0, cause=Cause.UNKNOWN)) is Fact.DIED
    assert find_fact(die(0, cause=Cause.FINISHED)) is Fact.FINISHED
    assert find_fact(die(0, cause=Cause.REQUESTED)) is Fact.STOPPED
    assert find_fact(health(0, "unhealthy")) is Fact.UNHEALTHY
    assert find_fact(health(0, "starting")) is None
    assert find_fact(event("exec_create", 0)) is None
    assert find_fact(event("remove", 0)) is Fact.REMOVED
    assert find_fact(event("destroy", 0, type_="volume")) is None
    assert find_fact(own("engine_lost", 0)) is Fact.DIED
    assert find_fact(own("heartbeat", 0)) is None


def test_the_budget_of_a_destination() -> None:
    """Ten at once, then one a minute."""
    state, now_ns = DestinationState("ops"), 10**18
    for left in range(BUDGET, 0, -1):
        assert count_budget(state, now_ns) == left
        assert find_budget_time(state) <= now_ns
        state = spend(state, now_ns)
    assert count_budget(state, now_ns) == 0
    assert find_budget_time(state) == now_ns + BUDGET_INTERVAL_NS
    assert count_budget(state, now_ns + BUDGET_INTERVAL_NS - 1) == 0
    assert count_budget(state, now_ns + BUDGET_INTERVAL_NS) == 1
    assert count_budget(state, now_ns + 100 * BUDGET_INTERVAL_NS) == BUDGET


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 20), st.booleans())))
def test_the_schedule_is_a_sorted_map(changes: list[tuple[int, int | None, bool]]) -> None:
    """Whatever is set, brought forward or popped."""
    schedule, naive = Schedule[int](), dict[int, int]()
    for key, due_ns, pops in changes:
        if pops:
            popped = schedule.pop(10)
            earliest = min(naive.values(), default=99)
            assert (popped is None) == (earliest > 10)
            if popped is not None:
                assert naive.pop(popped) == earliest
        elif due_ns is None:
            schedule.set(key, None)
            naive.pop(key, None)
        else:
            schedule.bring_forward(key, due_ns)
            naive[key] = min(due_ns, naive.get(key, due_ns))
        assert schedule.next_ns == min(naive.values(), default=None)
