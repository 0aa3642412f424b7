"""The wake-up of a delivery worker."""

from relay.store.wakeup import Handover, Wakeup


def test_deliveries_within_the_credit_are_passed_on() -> None:
    """In order and once; no fetch is needed."""
    wakeup = Wakeup[int]()
    wakeup.grant(3)
    wakeup.offer(1)
    wakeup.offer(2)
    assert wakeup.is_set()
    assert wakeup.take() == Handover([1, 2], needs_fetch=False)
    assert wakeup.take() == Handover([], needs_fetch=False)


def test_deliveries_beyond_the_credit_need_a_fetch() -> None:
    """None behind them is passed on, because it would overtake them."""
    wakeup = Wakeup[int]()
    wakeup.grant(1)
    for number in (1, 2, 3):
        wakeup.offer(number)
    assert wakeup.take() == Handover([1], needs_fetch=True)


def test_nothing_overtakes_a_requested_fetch() -> None:
    """Deliveries offered after the request are fetched too."""
    wakeup = Wakeup[int]()
    wakeup.grant(3)
    wakeup.offer(1)
    wakeup.request_fetch()
    wakeup.offer(2)
    assert wakeup.take() == Handover([1], needs_fetch=True)


def test_credit_has_to_be_granted() -> None:
    """Nothing is passed on for a credit that a former worker has granted."""
    wakeup = Wakeup[int]()
    wakeup.offer(1)
    assert wakeup.take() == Handover([], needs_fetch=True)
    wakeup.grant(2)
    wakeup.take()
    wakeup.offer(2)
    assert wakeup.take() == Handover([], needs_fetch=True)


def test_notify_does_not_request_a_fetch() -> None:
    """The worker has something else to do."""
    wakeup = Wakeup[int]()
    wakeup.notify()
    assert wakeup.is_set()
    assert wakeup.take() == Handover([], needs_fetch=False)
