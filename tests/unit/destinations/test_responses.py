"""How the responses of services are read, beside their status."""

import msgspec
import pytest

from relay.config import RetryConfig
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Response, Retry
from relay.delivery.retry import Attempt, classify
from relay.destinations.catalog import DESTINATION_TYPES

FIRST = Attempt(earlier_attempts=0, age_s=0, random_fraction=0.5)


def classify_response(kind: str, status: int | None, body: object = b"", **headers: str) -> Outcome:
    """Classify a response for a type; a body that is not bytes is encoded as JSON."""
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = Response(status, content, headers=named)
    return classify(response, FIRST, RetryConfig(), DESTINATION_TYPES.models[kind].parse_response)


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        ("slack", 200, b"ok"),
        ("slack", 200, b""),
        ("slack", 200, {"ok": True}),
        ("mattermost", 200, b"ok"),
        ("rocketchat", 200, {"success": True}),
        ("discord", 200, {"id": "1", "content": "rate_limited"}),
        ("telegram", 200, {"ok": True, "result": {"message_id": 7}}),
        ("teams", 202, b""),
        ("teams", 200, b"1"),
        ("googlechat", 200, {"name": "spaces/A/messages/B"}),
        ("ntfy", 200, {"id": "x", "event": "message"}),
        ("gotify", 200, {"id": 25}),
        ("pagerduty", 202, {"status": "success"}),
        ("alertmanager", 200, b""),
        ("http", 200, b"invalid_payload"),
        ("mattermost", 200, b"created_ok"),
        ("http", 200, {"ok": False}),
    ],
)
def test_accepted_notifications(kind: str, status: int, body: object) -> None:
    """These bodies mean success. The body of a plain webhook is not read."""
    assert classify_response(kind, status, body) == Delivered()


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
        "discord", 200, b"{}", x_ratelimit_remaining="0", x_ratelimit_reset_after="1.5"
    )
    assert last == Delivered(pause_s=1.5)
    more = classify_response(
        "discord", 200, b"{}", x_ratelimit_remaining="3", x_ratelimit_reset_after="1.5"
    )
    assert more == Delivered()


def test_telegram_gives_the_wait_in_the_body() -> None:
    """``parameters.retry_after`` is the wait, in seconds."""
    body = {"ok": False, "error_code": 429, "parameters": {"retry_after": 35}}
    assert classify_response("telegram", 429, body) == Retry(
        35.0, Reason.RATE_LIMITED, pause_s=35.0
    )


@pytest.mark.parametrize("after", [None, "soon", [], -1, 10**400])
def test_an_invalid_wait_is_ignored(after: object) -> None:
    """relay's own retry schedule holds."""
    try:
        body = msgspec.json.encode({"ok": False, "parameters": {"retry_after": after}})
    except msgspec.MsgspecError:
        body = b'{"ok": false, "parameters": {"retry_after": 1e999}}'
    assert classify_response("telegram", 429, body) == Retry(1.0, Reason.RATE_LIMITED, pause_s=1.0)
