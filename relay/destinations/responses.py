"""What a destination says beside the status of its answer: in a body, or in headers of its own."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from relay.core.exchange import Response


@dataclass(frozen=True, slots=True)
class ResponseHint:
    """What an answer says."""

    status: int | None = None
    """The status that it should have had; None where it has the right one."""
    is_rejected: bool = False
    """Whether it says that this will never be taken."""
    retry_after_s: float | None = None
    """How long to wait, where a body or a header of its own says so."""


NO_HINT = ResponseHint()
_ERRORS = range(400, 600)
ResponseParser = Callable[[Response], ResponseHint]

_ERROR_CODE = re.compile(rb"\s*([a-z]+(?:_[a-z]+)+|ratelimited)\s*")
"""How Slack words an error in plain text: ``invalid_payload``, ``channel_not_found``."""
_RATE_LIMIT_CODES = ("ratelimited", "rate_limited", "message_limit_exceeded")
_TEMPORARY_CODES = (
    # https://docs.slack.dev/reference/methods/chat.postMessage, "Errors"
    *("fatal_error", "internal_error", "request_timeout", "service_unavailable", "rollup_error"),
    *("team_added_to_org", "external_channel_migrating"),
)
_RELAYED_STATUS = re.compile(rb"HTTP error (\d{3})")
"""Teams answers 200 to what it could not post, and says in the text what became of it."""


def status_only(response: Response) -> ResponseHint:
    """The status says it all."""
    return NO_HINT


def parse_slack(response: Response) -> ResponseHint:
    """Slack and what is compatible with it: an error in a text, or in ``{"ok": false, …}``."""
    if found := _ERROR_CODE.fullmatch(response.body):
        return _from_error_code(found[1].decode())
    return parse_slack_json(response)


def parse_slack_json(response: Response) -> ResponseHint:
    """The same, where a text is no error: Mattermost and Rocket.Chat."""
    match _json_object(response.body):
        case {"ok": False, "error": str(code)}:
            return _from_error_code(code)
        case {"ok": False} | {"success": False}:
            return ResponseHint(is_rejected=True)
    return NO_HINT


def parse_discord(response: Response) -> ResponseHint:
    """Discord: ``retry_after`` in the body of a 429, and when its limit is reset in headers.

    https://discord.com/developers/docs/topics/rate-limits
    """
    waits = [_seconds(response.headers.get("x-ratelimit-reset-after"))]
    if response.status == 429:
        waits.append(_seconds(_json_object(response.body).get("retry_after")))
    elif response.headers.get("x-ratelimit-remaining") != "0":
        return NO_HINT
    return ResponseHint(
        retry_after_s=max((wait for wait in waits if wait is not None), default=None)
    )


def parse_telegram(response: Response) -> ResponseHint:
    """Telegram: ``parameters.retry_after``, and an ``error_code`` that counts before the status.

    https://core.telegram.org/bots/api#making-requests
    """
    match _json_object(response.body):
        case {"ok": False, "parameters": {"retry_after": after}}:
            return ResponseHint(status=429, retry_after_s=_seconds(after))
        case {"ok": False, "error_code": int(code)} if code in _ERRORS:
            return ResponseHint(status=code)
        case {"ok": False}:
            return ResponseHint(is_rejected=True)
    return NO_HINT


def parse_teams(response: Response) -> ResponseHint:
    """Teams: the status of an inner request, in the text of a 200."""
    found = _RELAYED_STATUS.search(response.body)
    if not found or not _is_ok(response) or int(found[1]) not in _ERRORS:
        return NO_HINT
    return ResponseHint(status=int(found[1]))


def parse_google_chat(response: Response) -> ResponseHint:
    """Google: ``{"error": {"code": 429, …}}``.

    https://google.aip.dev/193
    """
    match _json_object(response.body):
        case {"error": {"code": int(code)}} if code in _ERRORS:
            return ResponseHint(status=code)
    return NO_HINT


RESPONSE_PARSERS: Mapping[str, ResponseParser] = {
    "slack": parse_slack,
    "mattermost": parse_slack_json,
    "rocketchat": parse_slack_json,
    "discord": parse_discord,
    "telegram": parse_telegram,
    "teams": parse_teams,
    "googlechat": parse_google_chat,
}
"""By type of destination; the others say all by the status."""


def _from_error_code(code: str) -> ResponseHint:
    if code in _RATE_LIMIT_CODES:
        return ResponseHint(status=429)
    return ResponseHint(status=503) if code in _TEMPORARY_CODES else ResponseHint(is_rejected=True)


def _is_ok(response: Response) -> bool:
    return response.status is not None and 200 <= response.status < 300


def _json_object(body: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}


def _seconds(value: object) -> float | None:
    """A number of seconds, or a text that holds one; None for anything else."""
    try:
        seconds = float(value) if isinstance(value, str | int | float) else -1.0
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < float("inf") else None
