"""How fast a destination may be sent to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import (
    ConsoleDestination,
    HttpDestination,
    PagerDutyDestination,
    Rate,
    SlackDestination,
    TelegramDestination,
)
from relay.delivery.rate_limit import RateLimiter, RateLimiters, TokenBucket


def spend_all(bucket: TokenBucket, now_s: float) -> int:
    """How many may go at once."""
    count = 0
    while bucket.wait_s(now_s) == 0 and count < 1000:
        bucket.spend(now_s)
        count += 1
    return count


def test_a_burst_of_the_count_goes_at_once() -> None:
    """Then the next has to wait for its share of the time."""
    bucket = TokenBucket(Rate(count=4, per_s=1))
    assert spend_all(bucket, 100) == 4
    assert bucket.wait_s(100) == pytest.approx(0.25)


def test_after_a_burst_it_goes_evenly() -> None:
    """One each time that a share of the time has passed."""
    bucket = TokenBucket(Rate(count=4, per_s=1))
    spend_all(bucket, 100)
    assert [spend_all(bucket, 100 + quarter / 4) for quarter in range(1, 5)] == [1, 1, 1, 1]


def test_rest_gives_a_burst_again_and_no_more() -> None:
    """What was not used is not saved up beyond one burst."""
    bucket = TokenBucket(Rate(count=4, per_s=1))
    spend_all(bucket, 100)
    assert spend_all(bucket, 10_000) == 4


def test_one_at_a_time() -> None:
    """The smallest rate has no burst."""
    bucket = TokenBucket(Rate(count=1, per_s=60))
    assert spend_all(bucket, 0) == 1
    assert bucket.wait_s(15) == 45


@given(
    st.integers(1, 8),
    st.sampled_from([1.0, 2.0, 64.0]),
    st.lists(st.integers(0, 64), min_size=1, max_size=60),
)
def test_in_no_stretch_go_more_than_a_burst_and_its_share(
    count: int, per_s: float, pauses: list[int]
) -> None:
    """However the attempts come, at any time on the clock."""
    bucket, now_s, gone = TokenBucket(Rate(count=count, per_s=per_s)), 0.0, list[float]()
    for pause in pauses:
        now_s += pause * per_s / 64
        gone += [now_s] * spend_all(bucket, now_s)
    for index, start_s in enumerate(gone):
        for later, end_s in enumerate(gone[index:], 1):
            assert later <= count + (end_s - start_s) * count / per_s + 1e-6


A, B = object(), object()


def simulate(valve: RateLimiter, *wanting: object, ticks: int, step_s: float = 1.0) -> list[object]:
    """Who goes, where all of them always want to, each asking as soon as it was told it may."""
    gone: list[object] = []
    due = dict.fromkeys(wanting, 0.0)
    now_s = 0.0
    while len(gone) < ticks:
        for who in wanting:
            if due[who] <= now_s:
                if (wait_s := valve.wait_s(who, now_s)) == 0:
                    valve.spend(who, now_s)
                    gone.append(who)
                    wait_s = valve.wait_s(who, now_s)
                due[who] = now_s + wait_s
        now_s = min(due.values())
    return gone


def test_those_that_share_a_place_take_turns() -> None:
    """A destination with much to say does not keep another from its turn."""
    first, *later = simulate(RateLimiter([Rate(1, 1.0)]), A, B, ticks=9)
    assert (first, later) == (A, [A, B] * 4)  # the other came when the first had gone


def test_one_that_leaves_the_queue_holds_nobody_up() -> None:
    """It has nothing left to say."""
    valve = RateLimiter([Rate(1, 1.0)])
    valve.spend(A, 0)
    assert valve.wait_s(A, 0) == 1
    assert valve.wait_s(B, 0) == 2
    valve.cancel_wait(A)
    assert valve.wait_s(B, 0) == 1


def test_the_strictest_rate_counts() -> None:
    """Where several are set for one place, all of them hold."""
    valve = RateLimiter([Rate(1, 1.0), Rate(2, 60.0)])
    for now_s in (0, 1):
        assert valve.wait_s(A, now_s) == 0
        valve.spend(A, now_s)
    assert valve.wait_s(A, 2) == pytest.approx(28)


def test_without_a_rate_nothing_waits() -> None:
    """Nor does one wait for another."""
    valve = RateLimiter()
    assert [valve.wait_s(who, 0) for who in (A, B, A)] == [0, 0, 0]


def test_a_closed_valve_lets_nothing_through() -> None:
    """Until the last time that was asked for; or until it is opened."""
    valve = RateLimiter()
    valve.pause(10)
    valve.pause(5)
    assert (valve.wait_s(A, 4), valve.paused_for_s(4)) == (6, 6)
    assert (valve.wait_s(A, 10), valve.paused_for_s(10)) == (0, 0)
    valve.pause(20)
    valve.end_pause()
    assert valve.wait_s(A, 11) == 0


def http(url: str, **parts: object) -> HttpDestination:
    return HttpDestination.model_validate({"url": url, **parts})


def test_one_url_is_one_place() -> None:
    """Whatever its query and its user are: host, port and path tell, and what a vendor adds."""
    found = RateLimiters().assign(
        {
            "a": http("https://x/hook?to=a"),
            "b": http("https://user@x/hook?to=b"),
            "c": SlackDestination.model_validate({"url": "https://x:443/hook"}),
            "other path": http("https://x/hook2"),
            "other port": http("https://x:8443/hook"),
            "terminal": ConsoleDestination(),
            "another": ConsoleDestination(),
        }
    )
    assert found["a"] is found["b"] is found["c"]
    assert len(set(map(id, found.values()))) == 5


def test_a_place_has_the_rates_of_all_that_lead_there() -> None:
    """One that is set for a destination holds for its neighbour, which has none."""
    found = RateLimiters().assign(
        {"a": http("https://x/", rate_limit="1/min"), "b": http("https://x/")}
    )
    found["b"].spend(B, 0)
    assert found["b"].wait_s(B, 0) == 60


def test_another_addressee_is_another_place() -> None:
    """Chats of one bot, and services of one PagerDuty, have the same URL and are not the same."""
    chats = [{"token": "123456:abcdefghijkl", "chat_id": chat} for chat in ("1", "2", "1")]
    keys = [{"routing_key": key} for key in ("a" * 9, "b" * 9)]
    found = RateLimiters().assign(
        {
            **{f"t{n}": TelegramDestination.model_validate(it) for n, it in enumerate(chats)},
            **{f"p{n}": PagerDutyDestination.model_validate(it) for n, it in enumerate(keys)},
        }
    )
    assert found["t0"] is found["t2"]
    assert len(set(map(id, found.values()))) == 4


def test_those_that_wait_are_told_when_it_may_be_their_turn() -> None:
    """One before them left, or the place is open again."""
    valve, told = RateLimiter([Rate(1, 1.0)]), list[str]()
    valve.on_change(lambda: told.append("changed"))
    valve.wait_s(A, 0)
    valve.cancel_wait(A)
    valve.cancel_wait(A)
    valve.end_pause()
    assert told == ["changed"] * 2


def test_a_place_that_stays_keeps_its_valve() -> None:
    """With what it let through and what it asked for, whatever the destinations are called now."""
    places = RateLimiters()
    before = places.assign({"a": http("https://x/", rate_limit="1/min"), "b": http("https://y/")})
    before["a"].spend(A, 0)
    before["b"].pause(100)
    after = places.assign({"c": http("https://x/", rate_limit="1/min"), "b": http("https://y/")})
    assert after["c"] is before["a"]
    assert after["c"].wait_s(A, 0) == 60
    assert after["b"].paused_for_s(0) == 100


def test_a_place_that_was_gone_begins_anew() -> None:
    """Nothing is kept of a place that nobody sends to."""
    places = RateLimiters()
    before = places.assign({"a": http("https://x/", rate_limit="1/min")})["a"]
    before.spend(A, 0)
    places.assign({"a": http("https://y/")})
    after = places.assign({"a": http("https://x/", rate_limit="1/min")})["a"]
    assert after is not before
    assert after.wait_s(A, 0) == 0


def test_a_rate_that_changes_and_one_that_stays() -> None:
    """The one begins with a burst, the other remembers; those that wait are told."""
    valve, told = RateLimiter([Rate(1, 60.0), Rate(10, 60.0)]), list[str]()
    valve.on_change(lambda: told.append("changed"))
    valve.spend(A, 0)
    valve.set_rates([Rate(1, 60.0), Rate(2, 60.0)])
    assert told == ["changed"]
    assert valve.wait_s(A, 0) == 60
    valve.set_rates([Rate(2, 60.0)])
    assert valve.wait_s(A, 0) == 0
    valve.set_rates([])
    assert valve.wait_s(A, 0) == 0


def test_one_that_parts_is_not_told_and_holds_nobody_up() -> None:
    """Of two lanes of one destination only the one that is gone is forgotten."""
    valve, told = RateLimiter([Rate(1, 1.0)]), list[str]()

    def tell() -> None:
        told.append("changed")

    valve.on_change(tell)
    valve.on_change(tell)
    valve.spend(A, 0)
    valve.wait_s(A, 0)
    valve.unregister(A, tell)
    assert told == ["changed"]
    assert valve.wait_s(B, 0) == 1
    valve.unregister(B, tell)
    valve.end_pause()
    assert told == ["changed"]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)))
def test_places_are_kept_as_long_as_somebody_is_sent_to_them(rounds: list[dict[str, str]]) -> None:
    """Whatever comes and goes: one valve for each place, the same in one round as in the next."""
    places, before = RateLimiters(), dict[str, RateLimiter]()
    for leads in rounds:
        found = places.assign({name: http(f"https://{at}/") for name, at in leads.items()})
        now = {leads[name]: valve for name, valve in found.items()}
        assert all(found[name] is now[at] for name, at in leads.items())
        assert len(set(map(id, now.values()))) == len(now)
        assert all(now[at] is valve for at, valve in before.items() if at in now)
        before = now
