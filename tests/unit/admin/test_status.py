"""What makes relay ready, and what does not."""

import pytest

from relay.admin.status import Loading, Vitals, lacks
from relay.core.counters import DestinationTally, EngineTally
from relay.core.exchange import Reason, Retry
from relay.core.status import Condition, Stream
from relay.store.faults import State, Trouble

SECOND_NS = 10**9
NOW_NS = 1795420000 * SECOND_NS


def vitals(*open_: bool, store: State | None = None) -> Vitals:
    """Engines whose streams are open or not, and one destination that fails."""
    dead = DestinationTally()
    dead.count(Retry(1.0, Reason.CONNECTION))
    streams = {
        f"engine-{number}": Stream(EngineTally(), is_open=is_open)
        for number, is_open in enumerate(open_)
    }
    conditions = {"hook": Condition(failing=True)}
    return Vitals(streams, {"hook": dead}, conditions, store or State(), {}, 0, Loading(0), NOW_NS)


def test_ready() -> None:
    """Every stream is open and the store is well; a destination that fails is no matter."""
    assert lacks(vitals(True, True), NOW_NS) == []


def test_an_engine_out_of_reach() -> None:
    """It is named, and only it."""
    assert lacks(vitals(True, False), NOW_NS) == ["engine engine-1: its stream is not open"]


@pytest.mark.parametrize(("since_s", "words"), [(12, "12 s"), (-5, "0 s")])
def test_a_store_that_fails(since_s: int, words: str) -> None:
    """It says why and for how long, even where the clock was set back since."""
    state = State(NOW_NS - since_s * SECOND_NS, Trouble.READ_ONLY)
    assert lacks(vitals(True, store=state), NOW_NS) == [f"store: read only, for {words}"]


def test_several_at_once() -> None:
    """All of it is told."""
    state = State(NOW_NS, Trouble.FULL)
    assert lacks(vitals(False, store=state), NOW_NS) == [
        "store: full, for 0 s",
        "engine engine-0: its stream is not open",
    ]
