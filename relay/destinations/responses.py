"""What a destination says beside the status of its answer: in a body, or in headers of its own."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from relay.core.exchange import Response


@dataclass(frozen=True, slots=True)
class Said:
    """What an answer says."""

    status: int | None = None
    """The status that it should have had; None where it has the right one."""
    rejected: bool = False
    """Whether it says that this will never be taken."""
    after_s: float | None = None
    """How long to wait, where a body or a header of its own says so."""


NOTHING = Said()
_ERRORS = range(400, 600)
Dialect = Callable[[Response], Said]

_ERROR_CODE = re.compile(rb"\s*([a-z]+(?:_[a-z]+)+|ratelimited)\s*")
"""How Slack words an error in plain text: ``invalid_payload``, ``channel_not_found``."""
_BUSY = ("ratelimited", "rate_limited", "message_limit_exceeded")
_PASSING = (
    # https://docs.slack.dev/reference/methods/chat.postMessage, "Errors"
    *("fatal_error", "internal_error", "request_timeout", "service_unavailable", "rollup_error"),
    *("team_added_to_org", "external_channel_migrating"),
)
_RELAYED_STATUS = re.compile(rb"HTTP error (\d{3})")
"""Teams answers 200 to what it could not post, and says in the text what became of it."""


def plain(response: Response) -> Said:
    """The status says it all."""
    return NOTHING


def slack(response: Response) -> Said:
    """Slack and what is compatible with it: an error in a text, or in ``{"ok": false, …}``."""
    if found := _ERROR_CODE.fullmatch(response.body):
        return _coded(found[1].decode())
    return slack_json(response)


def slack_json(response: Response) -> Said:
    """The same, where a text is no error: Mattermost and Rocket.Chat."""
    match _object(response.body):
        case {"ok": False, "error": str(code)}:
            return _coded(code)
        case {"ok": False} | {"success": False}:
            return Said(rejected=True)
    return NOTHING


def discord(response: Response) -> Said:
    """Discord: ``retry_after`` in the body of a 429, and when its limit is reset in headers.

    https://discord.com/developers/docs/topics/rate-limits
    """
    waits = [_seconds(response.headers.get("x-ratelimit-reset-after"))]
    if response.status == 429:
        waits.append(_seconds(_object(response.body).get("retry_after")))
    elif response.headers.get("x-ratelimit-remaining") != "0":
        return NOTHING
    return Said(after_s=max((wait for wait in waits if wait is not None), default=None))


def telegram(response: Response) -> Said:
    """Telegram: ``parameters.retry_after``, and an ``error_code`` that counts before the status.

    https://core.telegram.org/bots/api#making-requests
    """
    match _object(response.body):
        case {"ok": False, "parameters": {"retry_after": after}}:
            return Said(status=429, after_s=_seconds(after))
        case {"ok": False, "error_code": int(code)} if code in _ERRORS:
            return Said(status=code)
        case {"ok": False}:
            return Said(rejected=True)
    return NOTHING


def teams(response: Response) -> Said:
    """Teams: the status of an inner request, in the text of a 200."""
    found = _RELAYED_STATUS.search(response.body)
    if not found or not _is_ok(response) or int(found[1]) not in _ERRORS:
        return NOTHING
    return Said(status=int(found[1]))


def google_chat(response: Response) -> Said:
    """Google: ``{"error": {"code": 429, …}}``.

    https://google.aip.dev/193
    """
    match _object(response.body):
        case {"error": {"code": int(code)}} if code in _ERRORS:
            return Said(status=code)
    return NOTHING


DIALECTS: Mapping[str, Dialect] = {
    "slack": slack,
    "mattermost": slack_json,
    "rocketchat": slack_json,
    "discord": discord,
    "telegram": telegram,
    "teams": teams,
    "googlechat": google_chat,
}
"""By type of destination; the others say all by the status."""


def _coded(code: str) -> Said:
    if code in _BUSY:
        return Said(status=429)
    return Said(status=503) if code in _PASSING else Said(rejected=True)


def _is_ok(response: Response) -> bool:
    return response.status is not None and 200 <= response.status < 300


def _object(body: bytes) -> dict[str, object]:
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
