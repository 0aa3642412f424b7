"""The wake-up of a delivery worker."""

from relay.store.wakeup import Handover, Wakeup


def test_deliveries_within_the_credit_are_passed_on() -> None:
    """In order and once; no fetch is needed."""
    news = Wakeup[int]()
    news.grant(3)
    news.offer(1)
    news.offer(2)
    assert news.is_set()
    assert news.take() == Handover([1, 2], needs_fetch=False)
    assert news.take() == Handover([], needs_fetch=False)


def test_deliveries_beyond_the_credit_need_a_fetch() -> None:
    """None behind them is passed on, because it would overtake them."""
    news = Wakeup[int]()
    news.grant(1)
    for number in (1, 2, 3):
        news.offer(number)
    assert news.take() == Handover([1], needs_fetch=True)


def test_nothing_overtakes_a_requested_fetch() -> None:
    """Deliveries offered after the request are fetched too."""
    news = Wakeup[int]()
    news.grant(3)
    news.offer(1)
    news.request_fetch()
    news.offer(2)
    assert news.take() == Handover([1], needs_fetch=True)


def test_credit_has_to_be_granted() -> None:
    """Nothing is passed on for a credit that a former worker has granted."""
    news = Wakeup[int]()
    news.offer(1)
    assert news.take() == Handover([], needs_fetch=True)
    news.grant(2)
    news.take()
    news.offer(2)
    assert news.take() == Handover([], needs_fetch=True)


def test_notify_does_not_request_a_fetch() -> None:
    """The worker has something else to look at."""
    news = Wakeup[int]()
    news.notify()
    assert news.is_set()
    assert news.take() == Handover([], needs_fetch=False)
