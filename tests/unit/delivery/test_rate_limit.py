"""Rate limits, pauses, and which destinations share them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Rate
from relay.delivery.rate_limit import RateLimiter, RateLimiters, TokenBucket
from relay.destinations.console import ConsoleDestination
from relay.destinations.http import HttpDestination
from relay.destinations.pagerduty import PagerDutyDestination
from relay.destinations.slack import SlackDestination
from relay.destinations.telegram import TelegramDestination


def spend_all(bucket: TokenBucket, now_s: float) -> int:
    """Spend all tokens that are available now, and return how many there were."""
    count = 0
    while bucket.wait_s(now_s) == 0 and count < 1000:
        bucket.spend(now_s)
        count += 1
    return count


def test_a_burst_is_allowed_at_once() -> None:
    """After it the next request waits for its share of the time."""
    bucket = TokenBucket(Rate(count=4, per_s=1))
    assert spend_all(bucket, 100) == 4
    assert bucket.wait_s(100) == pytest.approx(0.25)


def test_after_a_burst_requests_are_spread_evenly() -> None:
    """One for each share of the time that has passed."""
    bucket = TokenBucket(Rate(count=4, per_s=1))
    spend_all(bucket, 100)
    assert [spend_all(bucket, 100 + quarter / 4) for quarter in range(1, 5)] == [1, 1, 1, 1]


def test_unused_tokens_are_limited_to_a_burst() -> None:
    """However long nothing was sent."""
    bucket = TokenBucket(Rate(count=4, per_s=1))
    spend_all(bucket, 100)
    assert spend_all(bucket, 10_000) == 4


def test_the_smallest_rate_has_no_burst() -> None:
    """One request, and then a wait."""
    bucket = TokenBucket(Rate(count=1, per_s=60))
    assert spend_all(bucket, 0) == 1
    assert bucket.wait_s(15) == 45


@given(
    st.integers(1, 8),
    st.sampled_from([1.0, 2.0, 64.0]),
    st.lists(st.integers(0, 64), min_size=1, max_size=60),
)
def test_no_interval_has_more_than_a_burst_and_its_share(
    count: int, per_s: float, pauses: list[int]
) -> None:
    """At whatever times requests come."""
    bucket, now_s, sent = TokenBucket(Rate(count=count, per_s=per_s)), 0.0, list[float]()
    for pause in pauses:
        now_s += pause * per_s / 64
        sent += [now_s] * spend_all(bucket, now_s)
    for index, start_s in enumerate(sent):
        for later, end_s in enumerate(sent[index:], 1):
            assert later <= count + (end_s - start_s) * count / per_s + 1e-6


A, B = object(), object()


def simulate(limiter: RateLimiter, *waiters: object, ticks: int) -> list[object]:
    """Return who sends, in order, if all of them always want to send."""
    sent: list[object] = []
    due = dict.fromkeys(waiters, 0.0)
    now_s = 0.0
    while len(sent) < ticks:
        for waiter in waiters:
            if due[waiter] <= now_s:
                if (wait_s := limiter.wait_s(waiter, now_s)) == 0:
                    limiter.spend(waiter, now_s)
                    sent.append(waiter)
                    wait_s = limiter.wait_s(waiter, now_s)
                due[waiter] = now_s + wait_s
        now_s = min(due.values())
    return sent


def test_waiters_take_turns() -> None:
    """A destination with much to send does not delay another one."""
    first, *later = simulate(RateLimiter([Rate(1, 1.0)]), A, B, ticks=9)
    assert (first, later) == (A, [A, B] * 4)  # B starts to wait after A has sent


def test_a_cancelled_wait_delays_nobody() -> None:
    """The next waiter moves up."""
    limiter = RateLimiter([Rate(1, 1.0)])
    limiter.spend(A, 0)
    assert limiter.wait_s(A, 0) == 1
    assert limiter.wait_s(B, 0) == 2
    limiter.cancel_wait(A)
    assert limiter.wait_s(B, 0) == 1


def test_the_strictest_rate_counts() -> None:
    """If several rates are set for a URL, all of them hold."""
    limiter = RateLimiter([Rate(1, 1.0), Rate(2, 60.0)])
    for now_s in (0, 1):
        assert limiter.wait_s(A, now_s) == 0
        limiter.spend(A, now_s)
    assert limiter.wait_s(A, 2) == pytest.approx(28)


def test_without_a_rate_nothing_waits() -> None:
    """Nor does one destination wait for another."""
    limiter = RateLimiter()
    assert [limiter.wait_s(waiter, 0) for waiter in (A, B, A)] == [0, 0, 0]


def test_a_pause_allows_nothing() -> None:
    """Until the latest time that was asked for, or until the pause is ended."""
    limiter = RateLimiter()
    limiter.pause(10)
    limiter.pause(5)
    assert (limiter.wait_s(A, 4), limiter.paused_for_s(4)) == (6, 6)
    assert (limiter.wait_s(A, 10), limiter.paused_for_s(10)) == (0, 0)
    limiter.pause(20)
    limiter.end_pause()
    assert limiter.wait_s(A, 11) == 0


def http(url: str, **parts: object) -> HttpDestination:
    return HttpDestination.model_validate({"url": url, **parts})


def test_destinations_with_one_url_share_a_limiter() -> None:
    """Host, port and path decide, not the query, the user or the type."""
    assigned = RateLimiters().assign(
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
    assert assigned["a"] is assigned["b"] is assigned["c"]
    assert len(set(map(id, assigned.values()))) == 5


def test_a_limiter_has_the_rates_of_all_its_destinations() -> None:
    """The rate of one destination holds for another without a rate."""
    assigned = RateLimiters().assign(
        {"a": http("https://x/", rate_limit="1/min"), "b": http("https://x/")}
    )
    assigned["b"].spend(B, 0)
    assert assigned["b"].wait_s(B, 0) == 60


def test_another_recipient_has_another_limiter() -> None:
    """Chats of one bot and PagerDuty services have the same URL, but not the same limits."""
    chats = [{"token": "123456:abcdefghijkl", "chat_id": chat} for chat in ("1", "2", "1")]
    keys = [{"routing_key": key} for key in ("a" * 9, "b" * 9)]
    assigned = RateLimiters().assign(
        {
            **{f"t{n}": TelegramDestination.model_validate(entry) for n, entry in enumerate(chats)},
            **{f"p{n}": PagerDutyDestination.model_validate(entry) for n, entry in enumerate(keys)},
        }
    )
    assert assigned["t0"] is assigned["t2"]
    assert len(set(map(id, assigned.values()))) == 4


def test_callbacks_run_when_a_wait_may_be_shorter() -> None:
    """Because a waiter left the queue, or the pause was ended."""
    limiter, calls = RateLimiter([Rate(1, 1.0)]), list[str]()
    limiter.on_change(lambda: calls.append("changed"))
    limiter.wait_s(A, 0)
    limiter.cancel_wait(A)
    limiter.cancel_wait(A)
    limiter.end_pause()
    assert calls == ["changed"] * 2


def test_a_limiter_that_is_still_used_is_kept() -> None:
    """With its tokens and its pause, also if the destinations have other names."""
    limiters = RateLimiters()
    before = limiters.assign({"a": http("https://x/", rate_limit="1/min"), "b": http("https://y/")})
    before["a"].spend(A, 0)
    before["b"].pause(100)
    after = limiters.assign({"c": http("https://x/", rate_limit="1/min"), "b": http("https://y/")})
    assert after["c"] is before["a"]
    assert after["c"].wait_s(A, 0) == 60
    assert after["b"].paused_for_s(0) == 100


def test_an_unused_limiter_is_forgotten() -> None:
    """If its URL is configured again, it starts with a full burst."""
    limiters = RateLimiters()
    before = limiters.assign({"a": http("https://x/", rate_limit="1/min")})["a"]
    before.spend(A, 0)
    limiters.assign({"a": http("https://y/")})
    after = limiters.assign({"a": http("https://x/", rate_limit="1/min")})["a"]
    assert after is not before
    assert after.wait_s(A, 0) == 0


def test_set_rates_keeps_unchanged_rates() -> None:
    """A new rate starts with a burst, an unchanged one keeps its tokens, and callbacks run."""
    limiter, calls = RateLimiter([Rate(1, 60.0), Rate(10, 60.0)]), list[str]()
    limiter.on_change(lambda: calls.append("changed"))
    limiter.spend(A, 0)
    limiter.set_rates([Rate(1, 60.0), Rate(2, 60.0)])
    assert calls == ["changed"]
    assert limiter.wait_s(A, 0) == 60
    limiter.set_rates([Rate(2, 60.0)])
    assert limiter.wait_s(A, 0) == 0
    limiter.set_rates([])
    assert limiter.wait_s(A, 0) == 0


def test_unregister_removes_one_waiter() -> None:
    """Of two workers of one destination only the given one is removed."""
    limiter, calls = RateLimiter([Rate(1, 1.0)]), list[str]()

    def callback() -> None:
        calls.append("changed")

    limiter.on_change(callback)
    limiter.on_change(callback)
    limiter.spend(A, 0)
    limiter.wait_s(A, 0)
    limiter.unregister(A, callback)
    assert calls == ["changed"]
    assert limiter.wait_s(B, 0) == 1
    limiter.unregister(B, callback)
    limiter.end_pause()
    assert calls == ["changed"]


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)))
def test_limiters_are_kept_as_long_as_they_are_used(reloads: list[dict[str, str]]) -> None:
    """There is one limiter for each URL, the same before and after a reload."""
    limiters, before = RateLimiters(), dict[str, RateLimiter]()
    for hosts in reloads:
        assigned = limiters.assign({name: http(f"https://{host}/") for name, host in hosts.items()})
        by_host = {hosts[name]: limiter for name, limiter in assigned.items()}
        assert all(assigned[name] is by_host[host] for name, host in hosts.items())
        assert len(set(map(id, by_host.values()))) == len(by_host)
        assert all(by_host[host] is limiter for host, limiter in before.items() if host in by_host)
        before = by_host
