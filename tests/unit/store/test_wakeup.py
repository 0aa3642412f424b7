"""What a lane is told of its destination's deliveries."""

from relay.store.wakeup import Handover, Wakeup


def test_what_finds_room_is_handed_over() -> None:
    """In its order, once; nothing else needs to be asked for."""
    news = Wakeup[int]()
    news.grant(3)
    news.offer(1)
    news.offer(2)
    assert news.is_set()
    assert news.take() == Handover([1, 2], needs_fetch=False)
    assert news.take() == Handover([], needs_fetch=False)


def test_what_finds_none_is_to_be_asked_for() -> None:
    """And nothing that comes behind it is handed over: it would overtake it."""
    news = Wakeup[int]()
    news.grant(1)
    for number in (1, 2, 3):
        news.offer(number)
    assert news.take() == Handover([1], needs_fetch=True)


def test_nothing_overtakes_what_the_store_may_hold() -> None:
    """Of that it is only known that it is to be asked for."""
    news = Wakeup[int]()
    news.grant(3)
    news.offer(1)
    news.request_fetch()
    news.offer(2)
    assert news.take() == Handover([1], needs_fetch=True)


def test_there_is_room_only_after_it_was_made() -> None:
    """Nobody takes what a lane that is no more has made room for."""
    news = Wakeup[int]()
    news.offer(1)
    assert news.take() == Handover([], needs_fetch=True)
    news.grant(2)
    news.take()
    news.offer(2)
    assert news.take() == Handover([], needs_fetch=True)


def test_a_bell_says_nothing_of_the_store() -> None:
    """Something else is to be looked at."""
    news = Wakeup[int]()
    news.notify()
    assert news.is_set()
    assert news.take() == Handover([], needs_fetch=False)
