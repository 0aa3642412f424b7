"""A message of a Telegram bot.

It is sent with entities in place of a parse mode: what is bold and what is code is told beside the
text, by where it stands, so nothing in the text is markup. But Telegram finds entities of its own
in any text: mentions, links and bare host names, hashtags, commands, numbers of phones and cards
(``find_entities``, td/telegram/MessageEntity.cpp in https://github.com/tdlib/td). It finds none in
code, for ``pre`` and ``code`` cannot contain other entities
(https://core.telegram.org/bots/api#formatting-options). So all that is not ours is one of the two,
the headline too.
"""

from collections.abc import Sequence

import msgspec

from relay.core.exchange import Request
from relay.core.text import (
    truncate,
    truncate_lines,
    truncate_or_blank,
    truncate_start,
    utf16_length,
)
from relay.destinations.common.card import HEALTH, LOGS, Card

# Telegram's limits.
TEXT_MAX = 4_096
"""A message's text: https://core.telegram.org/bots/api#sendmessage"""
ENTITIES_MAX = 100
"""More are ignored. It is not documented; python-telegram-bot knows it as ``MESSAGE_ENTITIES``:
https://docs.python-telegram-bot.org/en/stable/telegram.constants.html"""

# Ours: so that even all that there can be stays within these.
HEADLINE_MAX = 200
VALUE_MAX = 150
"""Each fact."""
CUSTOM_TEXT_MAX = 1_000
"""The configuration's text, which stands in place of the facts."""
INSPECT_MAX = 600
"""All inspect fields together, with their names."""
OUTPUT_MAX = {LOGS: 1_300, HEALTH: 450}
"""All that was printed of each kind."""
NOTE_MAX = 100
"""Each piece of the small print."""


class _EntityText:
    """A text that is being written, with its entities; all in UTF-16 units, as Telegram counts."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._end = 0
        self.entities: list[dict[str, object]] = []

    def write(self, piece: str, kind: str | None = None) -> None:
        """Append; with a ``kind`` as an entity of it. Without one it has to be our own words."""
        length = utf16_length(piece)
        if kind is not None:
            self.entities.append({"type": kind, "offset": self._end, "length": length})
        self._pieces.append(piece)
        self._end += length

    def __str__(self) -> str:
        return "".join(self._pieces)


def render(card: Card, url: str, chat_id: str, thread_id: int | None) -> Request:
    """The message about the first event, with how many more there are."""
    text = _compose(card)
    message: dict[str, object] = {
        "chat_id": int(chat_id) if _is_number(chat_id) else chat_id,
        "text": str(text),
        "entities": text.entities,
        "link_preview_options": {"is_disabled": True},
    }
    if thread_id is not None:
        message["message_thread_id"] = thread_id
    return Request(msgspec.json.encode(message), url, {"Content-Type": "application/json"})


def _is_number(chat_id: str) -> bool:
    return chat_id.isascii() and chat_id.removeprefix("-").isdigit()


def _compose(card: Card) -> _EntityText:
    text = _EntityText()
    text.write(f"{card.emoji} ")
    _write_code(text, card.title(HEADLINE_MAX), HEADLINE_MAX)
    text.write("\n")
    if card.body:
        text.write("\n")
        text.write(truncate_lines(card.body, CUSTOM_TEXT_MAX), "pre")
    for name, value in (*card.facts, ("Time", card.time)):
        text.write("\n")
        text.write(name, "bold")
        text.write(": ")
        _write_code(text, value, VALUE_MAX)
    _write_inspect_fields(text, card.inspect_fields)
    for title, printed in card.output:
        text.write("\n\n")
        text.write(title, "bold")
        text.write("\n")
        text.write(truncate_start(printed, OUTPUT_MAX[title]), "pre")
    for at, note in enumerate(card.notes):
        text.write(" · " if at else "\n\n")
        _write_code(text, note, NOTE_MAX)
    return text


def _write_inspect_fields(text: _EntityText, inspected: Sequence[tuple[str, str]]) -> None:
    for path, value in inspected:
        text.write("\n")
        each = INSPECT_MAX // len(inspected) - 1
        _write_code(text, f"{truncate(path, each // 2)}: {value}", each)


def _write_code(text: _EntityText, value: str, limit: int) -> None:
    """Never blank: Telegram takes no entity without a character in it."""
    text.write(truncate_or_blank(value, limit), "code")
