"""What `relay send` says of an answer."""

import pytest

from relay.cli.verdict import advise, describe_outcome
from relay.config import RetryConfig
from relay.core.exchange import Reason, Response, ResponseHint
from relay.delivery.retry import Attempt, classify

FIRST = Attempt(earlier_attempts=0, age_s=0.0, random_fraction=0.5)


@pytest.mark.parametrize(
    ("response", "verdict", "advice"),
    [
        (Response(204), "delivered", None),
        (Response(401), "dead letter (refused)", "credentials: check the token"),
        (Response(403), "dead letter (refused)", "the rights of the account"),
        (Response(404), "dead letter (refused)", "there is nothing at this URL"),
        (Response(405), "dead letter (refused)", "check the URL and 'method'"),
        (Response(413), "dead letter (refused)", "'include' less"),
        (Response(422), "dead letter (refused)", "check 'type' and 'format'"),
        (Response(418), "dead letter (refused)", "its answer may say what is wrong"),
        (Response(302), "dead letter (redirect)", "the address to which it redirects"),
        (Response(407), "try this again (connection)", "the proxy wants credentials"),
        (Response(410), "stop sending to it (gone)", "make a new webhook"),
        (Response(429), "try this again (rate_limited)", "set 'rate_limit'"),
        (Response(503), "try this again (unavailable)", "a problem of its own"),
        (
            Response(200, hint=ResponseHint(is_rejected=True)),
            "dead letter (rejected)",
            "an unknown channel",
        ),
        (
            Response(200, hint=ResponseHint(unexpected="HTML")),
            "try this again (unexpected)",
            "a login page",
        ),
        (
            Response(None, failure=Reason.UNAVAILABLE, hint=ResponseHint(403)),
            "try this again (unavailable)",
            "the rights of the account",
        ),
        (Response(None, failure=Reason.TLS), "try this again (tls)", "tls.ca_file"),
        (Response(None, failure=Reason.EXHAUSTED), "try this again (exhausted)", "ulimit"),
    ],
)
def test_verdict_and_advice(response: Response, verdict: str, advice: str | None) -> None:
    """The verdict says what relay would do, the advice what a person can do."""
    outcome = classify(response, FIRST, RetryConfig())
    assert describe_outcome(outcome).endswith(verdict)
    said = advise(outcome, response)
    assert (said is None) == (advice is None)
    assert (advice or "") in (said or "")


def test_the_only_attempt() -> None:
    """With one attempt, too, the reason is that of the attempt."""
    response = Response(None, failure=Reason.NAME_NOT_FOUND)
    outcome = classify(response, FIRST, RetryConfig(max_attempts=1))
    assert describe_outcome(outcome) == "relay would make this a dead letter (name_not_found)"
    assert "check the host name" in (advise(outcome, response) or "")


def test_every_failure_of_an_attempt_has_advice() -> None:
    """None is left without a word on what to do."""
    for reason in (Reason.TIMEOUT, Reason.NAME_NOT_FOUND, Reason.TLS, Reason.CONNECTION):
        response = Response(None, failure=reason)
        assert "check" in (advise(classify(response, FIRST, RetryConfig()), response) or "")
