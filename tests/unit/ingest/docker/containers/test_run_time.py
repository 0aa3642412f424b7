"""How long a container had run when it died."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.core.container import Container
from relay.core.container_facts import ContainerFacts
from relay.core.event import Event
from relay.ingest.docker.containers.registry import REMOVED_FACTS_MAX, ContainerRegistry
from relay.ingest.docker.containers.run_time import find_run_time
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from tests.unit.ingest.docker.samples import (
    SECOND_NS,
    at,
    make_container_snapshot,
    make_event,
    make_snapshot,
    new_tracker,
    restore_tracker,
)


def died(second: float, shown: str | None, labels: dict[str, str] | None = None) -> Event:
    """A death whose event has this ``execDuration``."""
    more = {} if shown is None else {"execDuration": shown}
    return make_event("die", 3, second=second, labels={**(labels or {}), **more})


def run_time(
    shown: str | None,
    *,
    started: float | None = 0,
    podman: bool = False,
    labels: dict[str, str] | None = None,
) -> float | None:
    """The seconds that a container had run that died 90.5 s after noon."""
    tracker = new_tracker(podman=podman)
    if started is not None:
        tracker.on_event(make_event("start", second=started, labels=labels))
    (death,) = tracker.on_event(died(90.5, shown, labels))
    return None if death.ran_ns is None else death.ran_ns / SECOND_NS


@pytest.mark.parametrize(
    ("shown", "started", "expected"),
    [
        ("90", 0, 90.5),  # the same start: the last known one is exact
        (None, 0, 90.5),  # before Docker 23
        ("30", 0, 30.0),  # its last start was missed
        ("90", None, 90.0),
        (None, None, None),
        ("0", 90.25, 0.25),
        ("soon", 0, 90.5),
        ("-5", 0, 90.5),
        ("٣", 0, 90.5),  # a decimal digit, but no engine's
        ("9" * 11, None, None),
        ("9999999999", None, None),  # before 1970
    ],
)
def test_what_the_engine_says_and_what_is_known(
    shown: str | None, started: float | None, expected: float | None
) -> None:
    """Docker says it in whole seconds; the last start says it exactly, if it is the same."""
    assert run_time(shown, started=started) == expected


def test_a_label_hides_it() -> None:
    """Then only the last start counts; a restart of relay does not forget that."""
    label = {"execDuration": "86400"}
    assert run_time("86400", labels=label) == 90.5
    tracker = new_tracker()
    tracker.on_event(make_event("create", labels=label))
    tracker = restore_tracker(tracker)
    (death,) = tracker.on_event(died(5, "86400"))
    assert death.ran_ns is None


def test_an_inspection_shows_the_label() -> None:
    """A container that relay did not see start may have one, too."""
    tracker = new_tracker()
    shown = replace(
        make_container_snapshot(started=0, labels={"execDuration": "7"}),
        hiding_labels=frozenset({"execDuration"}),
    )
    tracker.on_snapshot(make_snapshot(shown, second=1), None)
    (death,) = tracker.on_event(died(5, "7"))
    assert death.ran_ns == 5 * SECOND_NS


def test_podman_does_not_say_it() -> None:
    """There the attribute is a label."""
    assert run_time("7", podman=True) == 90.5
    assert run_time("7", podman=True, started=None) is None


def test_each_life_counts_by_itself() -> None:
    """Not from the first start, and a second death without a start between has none."""
    tracker = new_tracker()
    lengths = []
    for action, second in [("start", 0), ("die", 4), ("start", 10), ("die", 11), ("die", 12)]:
        number = 3 if action == "die" else None
        lengths += [it.ran_ns for it in tracker.on_event(make_event(action, number, second=second))]
    assert lengths == [None, 4 * SECOND_NS, None, SECOND_NS, None]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (make_container_snapshot(started=0, finished=5, exit_code=3), 5 * SECOND_NS),
        (make_container_snapshot(started=9, finished=5), 5 * SECOND_NS),  # runs again
    ],
)
def test_an_inferred_death(shown: ContainerSnapshot, expected: int) -> None:
    """The inspection shows when the life began; after the next start, relay may know it."""
    tracker = new_tracker()
    tracker.on_event(make_event("start", second=0))
    (death,) = tracker.on_snapshot(make_snapshot(shown), None)
    assert (death.origin, death.ran_ns) == ("inferred", expected)


@given(
    st.one_of(st.none(), st.text(max_size=12), st.integers(0, 10**11).map(str)),
    st.one_of(st.none(), st.integers(-200, 200)),
    st.one_of(st.none(), st.integers(-200, 200)),
    st.booleans(),
)
def test_it_is_never_absurd(
    shown: str | None, started: int | None, ended: int | None, hidden: bool
) -> None:
    """Whatever labels and clocks say: not negative, and not longer than since 1970."""
    container = Container(
        "c",
        run_time_hidden=hidden,
        started_ns=None if started is None else at(started),
        died_ns=None if ended is None else at(ended),
    )
    death = died(90.5, shown)
    for podman in (False, True):
        found = find_run_time(container, death, podman=podman)
        assert found is None or 0 <= found <= at(90.5)


def test_the_facts_of_a_container_that_was_just_removed() -> None:
    """With ``--rm`` it is gone before its death is reported."""
    registry = ContainerRegistry()
    registry.put(Container("a", restart_policy="no", memory_limit=2**26))
    registry.put(Container("b"))
    for id_ in ("a", "b"):
        registry.remove(id_)
    assert registry.find_facts("a") == ContainerFacts("no", memory_limit=2**26)
    assert registry.find_facts("b") is None
    for number in range(REMOVED_FACTS_MAX):
        registry.put(Container(f"c{number}", restart_policy="no"))
        registry.remove(f"c{number}")
    assert registry.find_facts("a") is None
