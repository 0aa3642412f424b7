r"""Messages for a Discord webhook: one embed each.

Names, labels and images are hostile. Discord reads Markdown in an embed's title, description and
fields, but not in its footer (https://github.com/Pycord-Development/pycord/issues/96). A backslash
before every character that could start markup takes its meaning away. It works for any ASCII
punctuation and is not shown. Unlike an invisible character, it is not copied together with a name.
So ``\<`` starts no mention, channel, emoji or timestamp
(https://discord.com/developers/docs/reference#message-formatting), ``\[`` no link with a text,
``\#``, ``\-``, ``\>`` and ``1\.`` no heading, list or quote, and ``\:`` neither an emoji code nor a
link, since an address becomes a link only by its ``://``.

In a code block a backslash has no effect, and only three backticks end the block. In container
output a zero-width space follows each backtick, so that no two are adjacent.

The link of the configuration is a masked link at the end of the description
(https://discord.com/developers/docs/reference#message-formatting). Discord checks the ``url`` of an
embed, and refuses the message if the host has no dot (https://github.com/bugsink/bugsink/issues/280);
it does not check text.

Nobody is ever mentioned: ``allowed_mentions`` allows no mention in any text.
"""

from typing import Literal

from relay.config.types import Rate, RateLimit
from relay.core.exchange import NO_HINT, Request, Response, ResponseHint
from relay.core.text import (
    ELLIPSIS,
    ZERO_WIDTH_SPACE,
    escape_unprintable,
    truncate,
    utf16_length,
)
from relay.destinations.common.card import Card
from relay.destinations.common.command import is_command
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.pieces import Escapes, PieceKind
from relay.destinations.common.responses import (
    ECHO_MAX_BYTES,
    is_2xx,
    parse_number,
    parse_object,
    without,
)
from relay.destinations.common.service import ServiceDestination
from relay.destinations.common.webhook import append_query

# Discord's limits: https://discord.com/developers/docs/resources/message#embed-object-embed-limits
# Discord refuses a message if one text is too long, or if a required text is blank.
TITLE_MAX = 256
DESCRIPTION_MAX = 4_096
FIELDS_MAX = 25
FIELD_NAME_MAX = 256
FIELD_VALUE_MAX = 1_024
FOOTER_MAX = 2_048
TOTAL_MAX = 6_000
"""All texts together: title, description, names, values and footer."""

# Our own limits, in UTF-16 units. They keep the longest possible message within `TOTAL_MAX`.
VALUE_MAX = 200
"""Each fact."""
INSPECT_MAX = 1_200
"""All inspect fields together, with their paths."""
NOTE_MAX = 150
"""Each note in the footer."""
OUTPUT_MAX = {LOGS: 2_000, HEALTH: 900}
"""All output of each kind."""
LINK_CHARS_MAX = 500
"""The link of the configuration."""
CUSTOM_TEXT_MAX = 3_980
"""The text of the configuration, which replaces the facts, the output and the link together."""

Part = dict[str, object]

_MARKDOWN_CHARACTERS = frozenset("\\`*_~|<>[]#@:-.")


class DiscordDestination(ServiceDestination):
    """A Discord webhook."""

    limit_headers = ("x-ratelimit-remaining", "x-ratelimit-reset-after")
    max_response_bytes = ECHO_MAX_BYTES
    link_max = LINK_CHARS_MAX

    own_urls = r"https://([a-z]+\.)?discord(app)?\.com/api/(v\d+/)?webhooks/\d+/[^/?]+/?(\?|$)"

    type: Literal["discord"] = "discord"
    # the values of X-RateLimit-Limit and X-RateLimit-Reset-After in its responses to webhooks
    rate_limit: RateLimit | None = Rate(5, 2.0)
    """How many requests may start in a period of time. Destinations with the same host and path
    share the limit. Default: 5 in 2 seconds, as Discord allows."""

    @property
    def endpoint(self) -> str:
        """The URL with ``wait=true``: Discord answers once it has stored or refused the message."""
        return append_query(super().endpoint, {"wait": "true"})

    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events."""
        message = {"embeds": [_embed(card)], "allowed_mentions": {"parse": []}}
        return self.json_request(message)

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Read ``retry_after`` from the body of a 429, and the reset of the limit from headers.

        A success is the message, which has an ``id``, or 204.
        https://discord.com/developers/docs/topics/rate-limits,
        https://discord.com/developers/docs/resources/webhook#execute-webhook
        """
        document = parse_object(response.body)
        waits_s = [parse_number(response.headers.get("x-ratelimit-reset-after"))]
        if response.status == 429:
            waits_s.append(parse_number(document.get("retry_after")))
        elif is_2xx(response) and response.status != 204 and not document.get("id"):
            return without(response, "the id of a message")
        elif response.headers.get("x-ratelimit-remaining") != "0":
            return NO_HINT
        known_s = [wait_s for wait_s in waits_s if wait_s is not None]
        return ResponseHint(retry_after_s=max(known_s, default=None))


def _embed(card: Card) -> Part:
    title = card.title(TITLE_MAX - utf16_length(card.emoji) - 1, _ESCAPES)
    embed: Part = {
        "title": f"{card.emoji} {title}",
        "color": int(card.colour.removeprefix("#"), 16),
        "fields": _fields(card),
        "footer": {"text": " · ".join(truncate(note, NOTE_MAX) for note in card.notes)},
        "timestamp": card.precise_time,
    }
    if description := _description(card):
        embed["description"] = description
    return embed


def _description(card: Card) -> str:
    """Return the custom text, then the output in a fixed width; only the end of a long output."""
    blocks, limits = [], card.output_limits(OUTPUT_MAX)
    for output in card.output:
        shown = output.fit(limits[output.title], _escape_in_code)
        # The backticks have lines of their own: Discord takes a word after them for a language.
        blocks.append(f"**{output.title}**\n```\n{shown}\n```")
    if card.link:
        blocks.append(f"**[{_escape_text(card.link_label)}](<{card.link}>)**")
    if card.body:
        limit = CUSTOM_TEXT_MAX - sum(utf16_length(block) + 1 for block in blocks)
        # Between angle brackets, which are not shown, a link ends where it ends.
        pieces = card.body_pieces(limit, _ESCAPES)
        blocks.insert(
            0, "".join(f"<{it.text}>" if it.kind is PieceKind.LINK else it.text for it in pieces)
        )
    return "\n".join(blocks)


def _fields(card: Card) -> list[Part]:
    fields = [
        _command_field(name, value) if is_command(name) else _field(name, value)
        for name, value in card.fit_facts(VALUE_MAX, _escape)
    ]
    inspected = card.fit_inspect_fields(INSPECT_MAX, VALUE_MAX, _escape)
    fields += [_field(name, value) for name, value in inspected]
    if len(fields) > FIELDS_MAX:
        more = len(fields) - FIELDS_MAX + 1
        fields[FIELDS_MAX - 1 :] = [_field(ELLIPSIS, f"and {more} more")]
    return fields


def _field(name: str, value: str) -> Part:
    """Return a field; name and value are escaped already."""
    return {"name": name, "value": value, "inline": True}


def _command_field(name: str, command: str) -> Part:
    """Return a field of its own line with a command, in which Discord reads no Markdown."""
    return {"name": name, "value": f"`{command}`", "inline": False}


def _escape(character: str) -> str:
    if character in _MARKDOWN_CHARACTERS:
        return f"\\{character}"
    return escape_unprintable(character).replace("\\", "\\\\")


_ESCAPES = Escapes(_escape, _escape)


def _escape_text(text: str) -> str:
    return "".join(map(_escape, text))


def _escape_in_code(character: str) -> str:
    return f"`{ZERO_WIDTH_SPACE}" if character == "`" else escape_unprintable(character)
