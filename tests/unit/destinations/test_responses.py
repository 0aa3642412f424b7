"""How the responses of services are read, beside their status."""

import pytest

from relay.core.exchange import Dead, Delivered, Reason, Retry
from tests.unit.destinations.answers import classify_response
from tests.unit.destinations.configs import problems
from tests.unit.destinations.contract import contracts

ACCEPTED: list[tuple[str, int, object]] = [
    ("slack", 200, b"ok"),
    ("slack", 200, b""),
    ("slack", 204, b""),
    ("slack", 200, {"ok": True}),
    ("slack", 200, b'"ok"'),
    ("slack", 200, b"null"),
    ("slack", 200, {"success": True, "errors": []}),
    ("mattermost", 200, b"ok"),
    ("rocketchat", 200, {"success": True}),
    ("rocketchat", 200, {"custom": "answer of a script"}),
    ("discord", 200, {"id": "1", "content": "rate_limited"}),
    ("discord", 204, b""),
    ("telegram", 200, {"ok": True, "result": {"message_id": 7}}),
    ("teams", 202, b""),
    ("teams", 202, b"anything"),
    ("teams", 200, b"1"),
    ("teams", 200, {"body": "of a Response action"}),
    ("googlechat", 200, {"name": "spaces/A/messages/B"}),
    ("matrix", 200, {"event_id": "$1"}),
    ("ntfy", 200, {"id": "x", "event": "message"}),
    ("gotify", 200, {"id": 25}),
    ("pushover", 200, {"status": 1, "request": "647d2300"}),
    ("pagerduty", 202, {"status": "success"}),
    ("alertmanager", 200, b""),
    ("alertmanager", 200, {"status": "success"}),
    ("http", 200, b"invalid_payload"),
    ("http", 204, b""),
    ("http", 200, {"ok": False}),
    ("http", 200, b"<ok/>"),
]


@pytest.mark.parametrize(("kind", "status", "body"), ACCEPTED)
def test_accepted_notifications(kind: str, status: int, body: object) -> None:
    """These bodies mean success. The body of a plain webhook is not read."""
    assert classify_response(kind, status, body) == Delivered()


def test_every_service_has_an_accepted_answer() -> None:
    """A new service brings its own."""
    assert {kind for kind, *_ in ACCEPTED} == {*contracts(), "http"}


PAGES = (
    b"<!DOCTYPE html><title>Sign in</title>",
    b"\xef\xbb\xbf\r\n <HTML lang=de><body>ok</body></HTML>",
    b"<html>" + b"x" * 100_000,
)


@pytest.mark.parametrize("kind", [*contracts(), "http"])
def test_a_web_page_is_no_success(kind: str) -> None:
    """A login or a captive portal answers 200 too; the notification is sent again later."""
    for content_type in ("text/html", "Text/HTML; charset=utf-8", "", "text/plain"):
        for page in PAGES:
            outcome = classify_response(kind, 200, page, content_type=content_type)
            assert outcome == Retry(1.0, Reason.UNEXPECTED)


def test_html_without_a_known_beginning_is_recognized_by_its_type() -> None:
    """And a word that is sent as HTML is no page: Slack sends its ``ok`` in this way."""
    page = b"<!-- built 2026 --><p>Sign in"
    assert (
        classify_response("http", 200, page, content_type="text/html").reason is Reason.UNEXPECTED
    )
    assert classify_response("http", 200, page) == Delivered()
    for kind in ("slack", "http"):
        assert classify_response(kind, 200, b"ok", content_type="text/html") == Delivered()


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("slack", 200, b"created"),
        ("slack", 200, {"error": "unknown token"}),
        ("slack", 200, {"error": None, "errors": ["unknown token"]}),
        ("rocketchat", 200, b"welcome"),
        ("discord", 200, b""),
        ("discord", 200, {"message": "hello"}),
        ("telegram", 200, b""),
        ("telegram", 200, {"result": {}}),
        ("teams", 200, {"error": {"code": "WorkflowTriggerIsNotEnabled"}}),
        ("teams", 200, b"welcome"),
        ("googlechat", 200, {}),
        ("matrix", 200, b""),
        ("matrix", 200, {"name": "element"}),
        ("ntfy", 200, {"event": "message"}),
        ("ntfy", 204, b""),
        ("gotify", 200, {"id": "25"}),
        ("pushover", 200, {}),
        ("pagerduty", 202, b""),
        ("pagerduty", 200, {"status": "queued"}),
        ("alertmanager", 200, b"welcome"),
        ("alertmanager", 200, {"status": "error", "error": "bad data"}),
    ],
)
def test_what_a_service_does_not_answer_is_no_success(kind: str, status: int, body: object) -> None:
    """Something else has answered, so the notification is sent again later."""
    assert classify_response(kind, status, body) == Retry(1.0, Reason.UNEXPECTED)


@pytest.mark.parametrize(
    ("kind", "expect", "status", "body", "reason"),
    [
        ("http", "{status: 202}", 202, b"", Reason.OK),
        ("http", "{status: 202}", 200, b"", Reason.UNEXPECTED),
        ("http", "{status: [200, 409]}", 409, b"known", Reason.OK),
        ("http", "{status: 202}", 404, b"", Reason.REFUSED),
        ("http", "{body: accepted}", 200, b'{"state": "accepted"}', Reason.OK),
        ("http", "{body: accepted}", 200, b"Accepted", Reason.UNEXPECTED),
        ("http", "{body: [queued, done]}", 201, b"done", Reason.OK),
        ("http", "{body: accepted}", 400, b"not accepted", Reason.REFUSED),
        ("http", "{status: 202, body: x}", 202, b"y", Reason.UNEXPECTED),
        ("http", "{status: 200}", 200, b"<html>", Reason.UNEXPECTED),
        ("http", "{body: Thanks}", 200, b"<html>Thanks", Reason.OK),
        ("gotify", "{status: 204}", 204, b"", Reason.OK),
        ("slack", "{body: created}", 200, b"created", Reason.OK),
        ("slack", "{body: created}", 200, b"ok", Reason.UNEXPECTED),
        ("slack", "{body: created}", 200, b"invalid_payload", Reason.REJECTED),
        ("telegram", "{status: 201}", 200, {"ok": False, "error_code": 429}, Reason.RATE_LIMITED),
    ],
)
def test_expect_says_what_success_is(
    kind: str, expect: str, status: int, body: object, reason: Reason
) -> None:
    """Instead of the rule of the service, whose errors are still read."""
    assert classify_response(kind, status, body, expect).reason is reason


def test_expect_needs_something_to_expect() -> None:
    """Bad values are errors that say what to do."""
    assert problems("type: http, url: http://h/, expect: {}") == [
        "1:49: destinations.to.expect: 'expect' needs a 'status' or a 'body'"
    ]
    (problem,) = problems("type: http, url: http://h/, expect: {status: 1000}")
    assert problem.endswith("destinations.to.expect.status: '1000' is more than 599")
    (problem,) = problems('type: http, url: http://h/, expect: {body: ""}')
    assert problem.endswith(
        "destinations.to.expect.body: the value is not a text of 1 to 1000 characters"
    )


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("slack", b"invalid_payload"),
        ("slack", b"channel_not_found\n"),
        ("slack", b"action_prohibited"),
        ("slack", {"ok": False, "error": "invalid_blocks"}),
        ("slack", {"ok": False}),
        ("mattermost", {"ok": False}),
        ("rocketchat", {"success": False, "error": "Invalid channel"}),
        ("telegram", {"ok": False, "description": "strange"}),
        ("telegram", {"ok": False, "error_code": 200}),
        ("telegram", {"ok": False, "error_code": 0}),
    ],
)
def test_an_error_in_a_200_is_dead(kind: str, body: object) -> None:
    """An error code in the body of a 200 makes a dead letter."""
    assert classify_response(kind, 200, body) == Dead(Reason.REJECTED)


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("slack", {"ok": False, "error": "ratelimited"}, Reason.RATE_LIMITED),
        ("slack", b"rate_limited", Reason.RATE_LIMITED),
        ("slack", b"ratelimited", Reason.RATE_LIMITED),
        ("slack", {"ok": False, "error": "internal_error"}, Reason.UNAVAILABLE),
        ("slack", b"rollup_error", Reason.UNAVAILABLE),
        ("teams", b"failed: Teams endpoint returned HTTP error 429 with X", Reason.RATE_LIMITED),
        ("teams", b"failed: Teams endpoint returned HTTP error 502 with X", Reason.UNAVAILABLE),
        ("googlechat", {"error": {"code": 503}}, Reason.UNAVAILABLE),
        ("telegram", {"ok": False, "error_code": 500}, Reason.UNAVAILABLE),
    ],
)
def test_a_temporary_error_in_a_200_is_retried(kind: str, body: object, reason: Reason) -> None:
    """A temporary error in the body of a 200 is treated as a 429 or a 503."""
    outcome = classify_response(kind, 200, body)
    assert isinstance(outcome, Retry)
    assert outcome.reason is reason


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, b"invalid_payload", Reason.REFUSED),
        (403, b"action_prohibited", Reason.REFUSED),
        (404, b"channel_not_found", Reason.REFUSED),
        (404, b"no_service", Reason.REFUSED),
    ],
)
def test_slack_refuses_in_text(status: int, body: bytes, reason: Reason) -> None:
    """An error in plain text does not change the meaning of a 4xx."""
    assert classify_response("slack", status, body) == Dead(reason)


def test_an_archived_channel_stops_slack() -> None:
    """410 ``channel_is_archived`` stops the destination until somebody enables it again."""
    assert classify_response("slack", 410, b"channel_is_archived") == Retry(0.0, Reason.GONE)


def test_the_longest_wait_of_discord_counts() -> None:
    """Headers and body each give a wait; the longest counts, in fractions of a second."""
    outcome = classify_response(
        "discord",
        429,
        {"message": "You are being rate limited.", "retry_after": 64.57, "global": False},
        retry_after="65",
        x_ratelimit_reset_after="64.57",
    )
    assert outcome == Retry(65.0, Reason.RATE_LIMITED, pause_s=65.0)
    without = classify_response("discord", 429, {"retry_after": 7.5})
    assert without == Retry(7.5, Reason.RATE_LIMITED, pause_s=7.5)


def test_discord_is_paused_before_it_has_to_refuse() -> None:
    """A response that used up the limit pauses the destination until the limit is reset."""
    last = classify_response(
        "discord", 200, {"id": "1"}, x_ratelimit_remaining="0", x_ratelimit_reset_after="1.5"
    )
    assert last == Delivered(pause_s=1.5)
    more = classify_response(
        "discord", 200, {"id": "1"}, x_ratelimit_remaining="3", x_ratelimit_reset_after="1.5"
    )
    assert more == Delivered()


def test_telegram_gives_the_wait_in_the_body() -> None:
    """``parameters.retry_after`` is the wait, in seconds."""
    body = {"ok": False, "error_code": 429, "parameters": {"retry_after": 35}}
    assert classify_response("telegram", 429, body) == Retry(
        35.0, Reason.RATE_LIMITED, pause_s=35.0
    )


@pytest.mark.parametrize("after", ["1e999", "1" + "0" * 400, "999999999"])
def test_a_very_long_wait_is_the_longest_allowed(after: str) -> None:
    """A number is never too large to be obeyed."""
    body = f'{{"ok": false, "parameters": {{"retry_after": {after}}}}}'.encode()
    assert classify_response("telegram", 429, body) == Retry(
        86400.0, Reason.RATE_LIMITED, pause_s=86400.0
    )


@pytest.mark.parametrize("after", [None, "soon", [], -1, "1e9", "inf", "-1"])
def test_an_invalid_wait_is_ignored(after: object) -> None:
    """relay's own retry schedule holds."""
    body = {"ok": False, "parameters": {"retry_after": after}}
    assert classify_response("telegram", 429, body) == Retry(1.0, Reason.RATE_LIMITED, pause_s=1.0)
