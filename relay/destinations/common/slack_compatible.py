"""What other services have copied from Slack: its attachments, and its errors in JSON.

Mattermost and Rocket.Chat take the attachments, with Markdown in the texts. Names, labels and
images are hostile. Both services recognise more than Markdown can escape: mentions (``@all``,
``#channel``, ``~channel``), emoji codes, bare addresses, formulas between ``$``. A backslash
prevents only some of these, and not in every parser: each service has one parser on the server, one
in browsers and one on phones. None of them interprets code. So every text that is not relay's own
is inline code or a code block, and contains no backtick:

- Mattermost's server looks for mentions in texts and not in code (``server/channels/app``,
  ``getExplicitMentions``), and its clients do not format code.
- Rocket.Chat's parser ends code only at the next backtick (``packages/message-parser``,
  ``InlineCode`` and ``Code``), and its browser client restores emoji in code.

Code does not protect the headline entirely: see `_escape_headline`. What the author of a title or a
text wrote is no code: its links work, and nothing else in it is markup. The link of the
configuration is one of Markdown, which the attachments of both services show.

The paths are those of https://github.com/mattermost/mattermost and, below ``apps/meteor`` unless it
is a package, of https://github.com/RocketChat/Rocket.Chat. The fields of an attachment:
https://docs.mattermost.com/developers/integrate/reference/message-attachments
"""

from collections.abc import Iterable

from relay.core.exchange import Response, ResponseHint
from relay.core.text import (
    ZERO_WIDTH_SPACE,
    escape_unprintable,
    truncate,
    truncate_or_blank,
    utf16_length,
)
from relay.destinations.common.card import Card
from relay.destinations.common.command import is_command
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.pieces import Escapes, Piece, PieceKind
from relay.destinations.common.responses import parse_acknowledgement, parse_object

# Our own limits, in UTF-16 units. They keep every text below the 5,000 characters that Rocket.Chat
# formats, and all texts together below the 16,383 that Mattermost accepts in a single one.
HEADLINE_MAX = 200
VALUE_MAX = 500
"""Each fact."""
CUSTOM_TEXT_MAX = 3_000
"""The text of the configuration, which replaces the facts."""
INSPECT_MAX = 1_000
"""All inspect fields together, with their paths."""
OUTPUT_MAX = {LOGS: 2_000, HEALTH: 1_000}
"""All output of each kind."""
NOTE_MAX = 110
"""Each note."""

INSPECT_TITLE = "Inspected"

Attachment = dict[str, object]

_BACKTICK = "\u02cb"
"""MODIFIER LETTER GRAVE ACCENT, which looks like a backtick and does not end code."""
_SLACK_RATE_LIMITED = ("ratelimited", "rate_limited", "message_limit_exceeded")
_SLACK_TEMPORARY = (
    # https://docs.slack.dev/reference/methods/chat.postMessage, "Errors"
    *("fatal_error", "internal_error", "request_timeout", "service_unavailable", "rollup_error"),
    *("team_added_to_org", "external_channel_migrating"),
)


def message_text(card: Card) -> str:
    """Return the message's own text, which push notifications show too.

    It is not bold, because Mattermost's browser client ends bold text at the next ``**``, even in
    code.
    """
    return f"{card.emoji} {_markdown(card.title_pieces(HEADLINE_MAX, _HEADLINE_ESCAPES))}"


def build_attachments(card: Card) -> list[Attachment]:
    """Return two attachments: the facts, and below them what is included and the notes."""
    fields = [
        {"title": name, "value": _inline_code(value, VALUE_MAX), "short": not is_command(name)}
        for name, value in (("Time", card.time), *card.facts)
    ]
    facts: Attachment = {"color": card.colour, "fields": fields}
    if card.body:
        facts["text"] = _markdown(card.body_pieces(CUSTOM_TEXT_MAX, _ESCAPES))
    return [facts, {"color": card.colour, "text": _details(card)}]


def _details(card: Card) -> str:
    # Blank lines around every block: otherwise the parser of Rocket.Chat's browser client takes a
    # line of dashes in a log for the underline of a heading, which ends the block.
    parts = []
    if lines := _inspect_lines(card):
        parts += [f"**{INSPECT_TITLE}**", _code_block("\n".join(lines))]
    limits = card.output_limits(OUTPUT_MAX)
    for output in card.output:
        shown = output.fit(limits[output.title], _escape)
        parts += [f"**{output.title}**", _code_block(shown)]
    if card.link:
        parts.append(f"[{card.link_label}]({card.link})")
    return "\n\n".join([*parts, " · ".join(_inline_code(note, NOTE_MAX) for note in card.notes)])


def _inspect_lines(card: Card) -> list[str]:
    """Return one line per field; `truncate` escapes line breaks."""
    each, lines = card.share_inspect(INSPECT_MAX), []
    for path, value in card.inspect_fields:
        name = truncate(path, each // 2, _escape)
        lines.append(f"{name}: {truncate(value, each - utf16_length(name) - 3, _escape)}")
    return lines


def _markdown(pieces: Iterable[Piece]) -> str:
    """Return escaped pieces as Markdown: what is filled in is code, everything else stays as it is.

    Blank lines are around every block: see `_details`.
    """
    text, is_after_link = "", False
    for kind, piece in pieces:
        shown = piece if kind is not PieceKind.FILLED else _code(piece)
        if is_after_link and shown[0] in "\\`":  # these would continue the link
            text += " "
        text, is_after_link = text + shown, kind is PieceKind.LINK
    return text.strip("\n")


def _code(text: str) -> str:
    return f"\n\n{_code_block(text)}\n\n" if "\n" in text else f"`{text}`"


def _code_block(text: str) -> str:
    """Return a code block. ``text`` has no backtick and its own lines: a word right after the
    backticks would be taken for a language."""
    return f"```\n{text}\n```"


def _inline_code(text: str, limit: int) -> str:
    return f"`{truncate_or_blank(text, limit, _escape)}`"


def _escape(character: str) -> str:
    return _BACKTICK if character == "`" else escape_unprintable(character)


def _escape_own(character: str) -> str:
    """Escape the words of the configuration, so that they are shown as they are written.

    A backslash precedes each character that it escapes in both services.
    """
    return f"\\{character}" if character in "*_~" else _escape(character)


def _escape_headline(character: str) -> str:
    """Escape a character of the message's own text, where code is searched too.

    Rocket.Chat looks for people to notify there (``app/mentions/lib/MentionsParser``), Mattermost
    for hashtags (``server/public/model``, ``ParseHashtags``).
    """
    return f"{character}{ZERO_WIDTH_SPACE}" if character in "@#" else _escape(character)


_ESCAPES = Escapes(_escape, _escape_own)
_HEADLINE_ESCAPES = Escapes(_escape_headline, _escape_own)


def parse_slack_json(response: Response) -> ResponseHint:
    """Read an error of Slack or of a service that copies it: ``{"ok": false, "error": …}``.

    A success is ``ok``. Many servers that accept Slack's messages answer with other JSON or with
    nothing, which counts as a success too.
    """
    match parse_object(response.body):
        case {"ok": False, "error": str(code)}:
            return hint_from_slack_error(code)
        case {"ok": False} | {"success": False}:
            return ResponseHint(is_rejected=True)
    return parse_acknowledgement(response)


def hint_from_slack_error(code: str) -> ResponseHint:
    """Return what an error code of Slack means: rate limit, temporary, or rejected for good."""
    if code in _SLACK_RATE_LIMITED:
        return ResponseHint(status=429)
    return ResponseHint(status=503) if code in _SLACK_TEMPORARY else ResponseHint(is_rejected=True)
