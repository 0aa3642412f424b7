"""Helpers for reading what a service says in the body of its response, beside the status."""

import msgspec

from relay.core.exchange import NO_HINT, Response, ResponseHint

ERROR_STATUSES = range(400, 600)

_SLACK_RATE_LIMITED = ("ratelimited", "rate_limited", "message_limit_exceeded")
_SLACK_TEMPORARY = (
    # https://docs.slack.dev/reference/methods/chat.postMessage, "Errors"
    *("fatal_error", "internal_error", "request_timeout", "service_unavailable", "rollup_error"),
    *("team_added_to_org", "external_channel_migrating"),
)


def parse_slack_json(response: Response) -> ResponseHint:
    """Read an error of Slack, Mattermost or Rocket.Chat: ``{"ok": false, "error": …}``."""
    match parse_object(response.body):
        case {"ok": False, "error": str(code)}:
            return hint_from_slack_error(code)
        case {"ok": False} | {"success": False}:
            return ResponseHint(is_rejected=True)
    return NO_HINT


def hint_from_slack_error(code: str) -> ResponseHint:
    """Return whether one of Slack's error codes is temporary."""
    if code in _SLACK_RATE_LIMITED:
        return ResponseHint(status=429)
    return ResponseHint(status=503) if code in _SLACK_TEMPORARY else ResponseHint(is_rejected=True)


def parse_object(body: bytes) -> dict[str, object]:
    """Return the JSON object that a body holds; an empty one if it holds anything else."""
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}


def parse_seconds(value: object) -> float | None:
    """Return a duration in seconds, given as a number or as text; None for anything else."""
    try:
        seconds = float(value) if isinstance(value, str | int | float) else -1.0
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < float("inf") else None
