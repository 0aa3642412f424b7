"""What a lane is told of its destination's deliveries."""

from relay.store.wakeup import News, Told


def test_what_finds_room_is_handed_over() -> None:
    """In its order, once; nothing else needs to be asked for."""
    news = News[int]()
    news.make_room(3)
    news.hand(1)
    news.hand(2)
    assert news.is_set()
    assert news.take() == Told([1, 2], more=False)
    assert news.take() == Told([], more=False)


def test_what_finds_none_is_to_be_asked_for() -> None:
    """And nothing that comes behind it is handed over: it would overtake it."""
    news = News[int]()
    news.make_room(1)
    for number in (1, 2, 3):
        news.hand(number)
    assert news.take() == Told([1], more=True)


def test_nothing_overtakes_what_the_store_may_hold() -> None:
    """Of that it is only known that it is to be asked for."""
    news = News[int]()
    news.make_room(3)
    news.hand(1)
    news.set()
    news.hand(2)
    assert news.take() == Told([1], more=True)


def test_there_is_room_only_after_it_was_made() -> None:
    """Nobody takes what a lane that is no more has made room for."""
    news = News[int]()
    news.hand(1)
    assert news.take() == Told([], more=True)
    news.make_room(2)
    news.take()
    news.hand(2)
    assert news.take() == Told([], more=True)


def test_a_bell_says_nothing_of_the_store() -> None:
    """Something else is to be looked at."""
    news = News[int]()
    news.ring()
    assert news.is_set()
    assert news.take() == Told([], more=False)
