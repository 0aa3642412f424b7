"""What a response means, and when to try again."""

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import RetryConfig
from relay.core.exchange import Dead, Delivered, Reason, Response, ResponseHint, Retry
from relay.delivery.retry import Attempt, backoff_s, classify
from relay.destinations.catalog import DESTINATION_TYPES

POLICY = RetryConfig(
    initial=timedelta(seconds=1), max=timedelta(seconds=10), max_age=timedelta(hours=1)
)
NOON = "Mon, 23 Nov 2026 12:00:00 GMT"
NEXT_NOON = "Tue, 24 Nov 2026 12:00:00 GMT"
NOON_S = 1795435200
FIRST = Attempt(earlier_attempts=0, age_s=0, random_fraction=0.5, wall_clock_s=NOON_S)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    """However old the delivery is."""
    assert classify(Response(status), FIRST, POLICY) == Delivered()
    assert classify(Response(status), Attempt(9, 10**6, 0.5), POLICY) == Delivered()


@pytest.mark.parametrize("status", [100, 199, 408, 425, 500, 502, 503, 504, 599, 600, 999])
def test_temporary_failures_are_tried_again(status: int) -> None:
    """The receiver cannot accept the delivery now."""
    assert classify(Response(status), FIRST, POLICY) == Retry(1.0, Reason.UNAVAILABLE)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308, 399])
def test_a_redirect_is_dead_at_once(status: int) -> None:
    """Only the configuration decides where secrets are sent."""
    assert classify(Response(status), FIRST, POLICY) == Dead(Reason.REDIRECT)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 415, 422, 499])
def test_a_refusal_is_dead_at_once(status: int) -> None:
    """The same request would be refused again."""
    assert classify(Response(status), FIRST, POLICY) == Dead(Reason.REFUSED)


def test_gone_waits_to_be_enabled() -> None:
    """However old the delivery is and however often it was tried."""
    old = Attempt(99, 10**9, 0.5)
    policy = POLICY.model_copy(update={"max_attempts": 3})
    assert classify(Response(410), FIRST, policy) == Retry(0.0, Reason.GONE)
    assert classify(Response(410), old, policy) == Retry(0.0, Reason.GONE)


@pytest.mark.parametrize(
    "failure", [Reason.TIMEOUT, Reason.NAME_NOT_FOUND, Reason.TLS, Reason.CONNECTION]
)
def test_no_answer_is_tried_again(failure: Reason) -> None:
    """The reason says why there was no response."""
    assert classify(Response(None, failure=failure), FIRST, POLICY) == Retry(1.0, failure)


@pytest.mark.parametrize(("age_s", "dead"), [(3599.9, False), (3600, True), (10**6, True)])
def test_an_expired_delivery_is_dead(age_s: float, dead: bool) -> None:
    """From ``max_age`` on."""
    outcome = classify(Response(500), Attempt(3, age_s, 0.5), POLICY)
    expired, later = Dead(Reason.EXPIRED, Reason.UNAVAILABLE), Retry(8.0, Reason.UNAVAILABLE)
    assert outcome == (expired if dead else later)


@pytest.mark.parametrize(("earlier", "dead"), [(1, False), (2, True), (9, True)])
def test_max_attempts_makes_a_delivery_dead(earlier: int, dead: bool) -> None:
    """Without it the delivery is tried until it expires."""
    policy = POLICY.model_copy(update={"max_attempts": 3})
    outcome = classify(Response(500), Attempt(earlier, 0, 0.5), policy)
    assert isinstance(outcome, Dead) is dead
    if dead:
        assert outcome == Dead(Reason.ATTEMPTS, Reason.UNAVAILABLE)
    assert isinstance(classify(Response(500), Attempt(earlier, 0, 0.5), POLICY), Retry)


@pytest.mark.parametrize(
    ("earlier", "wait_s"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 10), (63, 10), (10**9, 10)]
)
def test_backoff_doubles(earlier: int, wait_s: float) -> None:
    """From ``initial`` to ``max``, for any number of attempts."""
    assert backoff_s(Attempt(earlier, 0, 0.5), POLICY) == wait_s


@pytest.mark.parametrize(("factor", "waits"), [(1, [1, 1, 1]), (3, [1, 3, 9])])
def test_backoff_grows_by_the_factor(factor: float, waits: list[float]) -> None:
    """With a factor of 1 it is constant."""
    policy = POLICY.model_copy(update={"factor": factor})
    assert [backoff_s(Attempt(earlier, 0, 0.5), policy) for earlier in range(3)] == waits


@given(st.integers(0, 100), st.floats(0, 1), st.floats(0, 1))
def test_the_jitter_is_bounded(earlier: int, random_fraction: float, jitter: float) -> None:
    """A wait differs by at most its share, in both directions."""
    policy = POLICY.model_copy(update={"jitter": jitter})
    plain_s = backoff_s(Attempt(earlier, 0, 0.5), policy)
    wait_s = backoff_s(Attempt(earlier, 0, random_fraction), policy)
    assert abs(wait_s - plain_s) <= plain_s * jitter + 1e-9


def test_the_defaults_outlast_a_weekend() -> None:
    """What fails on a Friday evening is still tried on Monday."""
    policy, attempts, elapsed_s = RetryConfig(), 0, 0.0
    while isinstance(
        outcome := classify(Response(500), Attempt(attempts, elapsed_s, 0.5), policy), Retry
    ):
        elapsed_s, attempts = elapsed_s + outcome.after_s, attempts + 1
    assert outcome == Dead(Reason.EXPIRED, Reason.UNAVAILABLE)
    assert 72 * 3600 <= elapsed_s < 73 * 3600


def make_response(status: int, **headers: str) -> Response:
    """A response with headers, whose names have underscores for dashes."""
    return Response(
        status, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry_after": "3"}, 3),
        ({"retry_after": " 120 "}, 120),
        ({"retry_after": "3.25"}, 3.25),
        ({"retry_after": "0000000000000000000003.250000000000"}, 3.25),
        ({"retry_after": "Mon, 23 Nov 2026 12:01:30 GMT"}, 90),
        ({"retry_after": "Monday, 23-Nov-26 12:01:30 GMT"}, 90),
        ({"retry_after": "Mon Nov 23 12:01:30 2026"}, 90),
        ({"retry_after": "Mon, 23 Nov 2026 12:01:30 GMT", "date": NOON}, 90),
        (
            {
                "retry_after": "Tue, 24 Nov 2026 12:01:30 GMT",
                "date": NEXT_NOON,
            },
            90,
        ),
    ],
)
def test_retry_after_is_obeyed(status: int, headers: dict[str, str], wait_s: float) -> None:
    """In seconds, or as a date that counts from the response's own ``Date``."""
    reason = Reason.RATE_LIMITED if status == 429 else Reason.UNAVAILABLE
    outcome = classify(make_response(status, **headers), FIRST, POLICY)
    assert outcome == Retry(wait_s, reason, pause_s=wait_s)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-5", "0", "1e3", "nan", "inf", "Mon, 23 Nov 2026 11:00:00 GMT", "١٢"],
)
def test_an_invalid_retry_after_is_ignored(text: str) -> None:
    """The wait is the one of the retry policy; a 429 pauses the destination all the same."""
    assert classify(make_response(429, retry_after=text), FIRST, POLICY) == Retry(
        1.0, Reason.RATE_LIMITED, pause_s=1.0
    )
    assert classify(make_response(503, retry_after=text), FIRST, POLICY) == Retry(
        1.0, Reason.UNAVAILABLE
    )


@pytest.mark.parametrize("text", ["0.001", "0.5"])
def test_a_short_retry_after_is_extended(text: str) -> None:
    """The pause is at least ``initial``, and the delivery waits longer after each attempt."""
    outcomes = [
        classify(make_response(429, retry_after=text), Attempt(earlier, 0, 0.5), POLICY)
        for earlier in range(3)
    ]
    assert outcomes == [
        Retry(wait_s, Reason.RATE_LIMITED, pause_s=1.0) for wait_s in (1.0, 2.0, 4.0)
    ]


def test_a_dead_delivery_can_pause_the_destination() -> None:
    """The pause after the last attempt holds for the next deliveries."""
    policy = POLICY.model_copy(update={"max_attempts": 1})
    outcome = classify(make_response(429, retry_after="60"), FIRST, policy)
    assert outcome == Dead(Reason.ATTEMPTS, Reason.RATE_LIMITED, pause_s=60)


def test_no_descriptor_is_no_attempt() -> None:
    """However many there were, and what is too old is given up all the same."""
    response = Response(None, failure=Reason.EXHAUSTED)
    policy = POLICY.model_copy(update={"max_attempts": 1})
    outcome = classify(response, FIRST, policy)
    assert outcome == Retry(1.0, Reason.EXHAUSTED)
    assert not outcome.is_attempt
    assert classify(response, Attempt(0, 10**6, 0.5), policy) == Dead(
        Reason.EXPIRED, Reason.EXHAUSTED
    )


def test_a_proxy_that_wants_a_password_is_no_refusal() -> None:
    """The destination did not get the request."""
    assert classify(Response(407), FIRST, POLICY) == Retry(1.0, Reason.CONNECTION)


@pytest.mark.parametrize(
    "text", ["999999999999999", "9" * 16, "9" * 99, "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_max_after_bounds_retry_after(text: str) -> None:
    """However long the destination asks for."""
    outcome = classify(make_response(503, retry_after=text), FIRST, POLICY)
    assert outcome == Retry(86400, Reason.UNAVAILABLE, pause_s=86400)


@pytest.mark.parametrize("status", [200, 400, 408, 500])
def test_retry_after_counts_with_429_and_503_only(status: int) -> None:
    """With other statuses it does not apply to the destination."""
    assert classify(make_response(status, retry_after="99"), FIRST, POLICY) == classify(
        make_response(status), FIRST, POLICY
    )


@given(
    st.none() | st.integers(-1, 10_000),
    st.binary(max_size=60) | st.text(max_size=40).map(str.encode),
    st.dictionaries(
        st.sampled_from(
            ["retry-after", "date", "x-ratelimit-remaining", "x-ratelimit-reset-after"]
        ),
        st.text(max_size=40) | st.floats().map(str) | st.integers().map(str),
    ),
    st.sampled_from([model.parse_response for model in DESTINATION_TYPES.models.values()]),
)
def test_no_response_makes_it_raise(
    status: int | None,
    body: bytes,
    headers: dict[str, str],
    parse_response: Callable[[Response], ResponseHint],
) -> None:
    """Whatever the response, the outcome can be stored, and its waits are finite."""
    failure = Reason.CONNECTION if status is None else None
    response = Response(status, body, failure=failure, headers=headers)
    hint = parse_response(response)
    outcome = classify(msgspec.structs.replace(response, hint=hint), FIRST, POLICY)
    assert isinstance(outcome.reason, Reason)
    if isinstance(outcome, Retry):
        assert 0 <= outcome.after_s <= 86400
        assert 0 <= outcome.pause_s <= 86400
