"""Reads what the body and the headers of a response add to its status."""

from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

from relay.core.exchange import NO_HINT, Response, ResponseHint

ERROR_STATUSES = range(400, 600)
"""The statuses that a body may give in place of the actual one."""

_SLACK_RATE_LIMITED = ("ratelimited", "rate_limited", "message_limit_exceeded")
_SLACK_TEMPORARY = (
    # https://docs.slack.dev/reference/methods/chat.postMessage, "Errors"
    *("fatal_error", "internal_error", "request_timeout", "service_unavailable", "rollup_error"),
    *("team_added_to_org", "external_channel_migrating"),
)


def parse_slack_json(response: Response) -> ResponseHint:
    """Read an error of Slack or of a service that copies it: ``{"ok": false, "error": …}``."""
    match parse_object(response.body):
        case {"ok": False, "error": str(code)}:
            return hint_from_slack_error(code)
        case {"ok": False} | {"success": False}:
            return ResponseHint(is_rejected=True)
    return NO_HINT


def hint_from_slack_error(code: str) -> ResponseHint:
    """Return what an error code of Slack means: rate limit, temporary, or rejected for good."""
    if code in _SLACK_RATE_LIMITED:
        return ResponseHint(status=429)
    return ResponseHint(status=503) if code in _SLACK_TEMPORARY else ResponseHint(is_rejected=True)


def parse_object(body: bytes) -> dict[str, object]:
    """Return the JSON object that a body holds; an empty one if it holds anything else."""
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}


def parse_number(value: object) -> float | None:
    """Return a finite number from 0 on, given as a number or as text; None for anything else."""
    try:
        number = float(value) if isinstance(value, str | int | float) else -1.0
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < float("inf") else None


def parse_date_s(text: str) -> float | None:
    """Return an HTTP date in seconds since 1970; None if the text is not a date."""
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    return date.replace(tzinfo=date.tzinfo or UTC).timestamp()
