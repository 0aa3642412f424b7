"""What the tests of a fleet count as a fault, and what not."""

import pytest

from tests.support.fleet_ledger import Ledger, is_clean

HOST, WEB = "web-17", "web-1"


def make_ledger(count: int) -> Ledger:
    """A container with this many events."""
    ledger = Ledger()
    for _ in range(count):
        ledger.make(HOST, WEB)
    return ledger


def arrive(ledger: Ledger, *numbers: int, hub: str = "hub", life: int = 1) -> None:
    for number in numbers:
        ledger.arrive(hub, life, (HOST, WEB, number), f"ntf_{number}")


def test_everything_in_order() -> None:
    ledger = make_ledger(3)
    arrive(ledger, 0, 1, 2)
    assert is_clean(ledger.verdict())
    assert (ledger.verdict()["events"], ledger.missing) == (3, 0)


def test_lost() -> None:
    ledger = make_ledger(3)
    arrive(ledger, 0, 2)
    assert ledger.verdict()["lost"] == 1
    assert not is_clean(ledger.verdict())


def test_an_event_of_another_host_is_no_substitute() -> None:
    """The containers of all hosts may have the same names."""
    ledger = make_ledger(1)
    ledger.arrive("hub", 1, ("web-18", WEB, 0), "ntf_0")
    assert (ledger.verdict()["lost"], ledger.verdict()["unknown"]) == (1, 1)


def test_under_two_ids() -> None:
    ledger = make_ledger(1)
    arrive(ledger, 0)
    ledger.arrive("hub", 2, (HOST, WEB, 0), "ntf_another")
    assert ledger.verdict()["under two ids"] == 1
    assert not is_clean(ledger.verdict())


def test_a_hub_may_repeat_what_it_sent_before_it_was_killed() -> None:
    ledger = make_ledger(2)
    arrive(ledger, 0, 1)
    arrive(ledger, 0, 1, life=2)
    assert is_clean(ledger.verdict())
    assert ledger.verdict()["repeated after a kill of the hub"] == 2


def test_a_repetition_without_a_kill_is_a_fault() -> None:
    ledger = make_ledger(1)
    arrive(ledger, 0, 0)
    assert ledger.verdict()["repeated without a kill of the hub"] == 1
    assert not is_clean(ledger.verdict())


@pytest.mark.parametrize("life", [1, 2])
def test_out_of_order(life: int) -> None:
    """A kill is no excuse: what a hub has committed it sends in order."""
    ledger = make_ledger(2)
    arrive(ledger, 1)
    arrive(ledger, 0, life=life)
    assert ledger.verdict()["out of order"] == 1
    assert not is_clean(ledger.verdict())


def test_what_waited_in_the_store_of_a_dead_hub_comes_late() -> None:
    """The other hub goes on meanwhile."""
    ledger = make_ledger(4)
    arrive(ledger, 0, hub="one")
    arrive(ledger, 2, 3, hub="two")
    arrive(ledger, 1, hub="one", life=2)
    assert is_clean(ledger.verdict())
    assert ledger.verdict()["late from the store of a dead hub"] == 1


def test_a_hub_that_was_not_dead_has_no_reason_to_be_late() -> None:
    """Two hubs that take messages at the same time mix up their order."""
    ledger = make_ledger(2)
    arrive(ledger, 1, hub="one")
    arrive(ledger, 0, hub="two")
    assert ledger.verdict()["out of order"] == 1
    assert not is_clean(ledger.verdict())


def test_two_hubs_send_the_same() -> None:
    """One was killed after its commit and before its acknowledgement: the id is the same."""
    ledger = make_ledger(1)
    arrive(ledger, 0, hub="one")
    arrive(ledger, 0, hub="two")
    assert is_clean(ledger.verdict())
    assert ledger.verdict()["repeated by another hub"] == 1


def test_expected_later() -> None:
    """Simulated hosts say at the end how much they made."""
    ledger = Ledger()
    arrive(ledger, 0)
    ledger.expect({(HOST, WEB): 2})
    assert ledger.verdict()["lost"] == 1
