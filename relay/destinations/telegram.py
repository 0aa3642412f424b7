"""Messages of a Telegram bot.

A message has entities instead of a parse mode: they say by position which part of the text is bold
and which is code, so nothing in the text is markup. But Telegram detects further entities in any
text: mentions, links and bare host names, hashtags, commands, numbers of phones and cards
(``find_entities``, td/telegram/MessageEntity.cpp in https://github.com/tdlib/td). It detects none
in ``pre`` and ``code``, which cannot contain other entities
(https://core.telegram.org/bots/api#formatting-options). So all text that is not relay's own is one
of these two, the headline too. Only what the author of a title or a text wrote is neither.

The link of the configuration is a button below the message. Telegram refuses a message with a
button whose host has no dot, such as ``grafana`` or an IPv6 address (``check_link_impl``,
td/telegram/LinkManager.cpp in https://github.com/tdlib/td): such a link is code, which can be
copied.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from relay.config.errors import ConfigIssue
from relay.config.templates.link import find_host
from relay.config.types import Rate, RateLimit, WebhookUrl, WholeNumber
from relay.core.exchange import NO_HINT, Request, Response, ResponseHint
from relay.core.text import truncate_or_blank, utf16_length
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.pieces import Piece, PieceKind
from relay.destinations.common.responses import (
    ECHO_MAX_BYTES,
    ERROR_STATUSES,
    parse_number,
    parse_object,
    without,
)
from relay.destinations.common.service import ServiceDestination, text_matching
from relay.destinations.common.webhook import append_path, warn_of_path

# Telegram's limits.
TEXT_MAX = 4_096
"""A message's text: https://core.telegram.org/bots/api#sendmessage"""
ENTITIES_MAX = 100
"""Telegram ignores further entities. It does not document this limit, which is
``MESSAGE_ENTITIES`` in python-telegram-bot:
https://docs.python-telegram-bot.org/en/stable/telegram.constants.html"""

# Our own limits, in UTF-16 units. They keep the longest possible message within Telegram's.
HEADLINE_MAX = 200
VALUE_MAX = 150
"""Each fact."""
CUSTOM_TEXT_MAX = 1_000
"""The text of the configuration, which replaces the facts."""
INSPECT_MAX = 600
"""All inspect fields together, with their paths."""
OUTPUT_MAX = {LOGS: 1_300, HEALTH: 450}
"""All output of each kind."""
NOTE_MAX = 100
"""Each note."""
LINK_CHARS_MAX = 400
"""The link of the configuration."""


class TelegramDestination(ServiceDestination):
    """A Telegram bot."""

    public_keys = ServiceDestination.public_keys | {"chat_id", "thread_id"}
    keys_in_files = frozenset({"chat_id"})
    max_response_bytes = ECHO_MAX_BYTES
    link_max = LINK_CHARS_MAX

    own_urls = r"https://api\.telegram\.org(/|$)"

    type: Literal["telegram"] = "telegram"
    url: WebhookUrl = SecretStr("https://api.telegram.org")
    """The URL of a Bot API server."""
    token: Annotated[
        SecretStr,
        text_matching(
            r"[0-9]{1,20}:[A-Za-z0-9_-]{10,100}",
            "is not the token of a bot, as in 123456:ABC-DEF1234ghIkl-zyx57W2v1u",
        ),
    ]
    """The bot's token, from @BotFather."""
    chat_id: Annotated[
        str,
        text_matching(
            r"-?[0-9]{1,20}|@[A-Za-z0-9_]{3,64}",
            "is neither the number of a chat nor '@' and a channel's name",
        ),
    ]
    """A number, or ``@`` and the name of a channel; the bot has to be a member."""
    thread_id: Annotated[WholeNumber, Field(ge=1)] | None = None
    """The number of a topic in a group."""
    # 20 a minute and group: https://core.telegram.org/bots/faq
    rate_limit: RateLimit | None = Rate(20, 60.0)

    def find_warnings(self) -> Iterable[ConfigIssue]:
        """Warn of a URL to which the method of the API is appended a second time."""
        return warn_of_path(self.url, r"/bot|/sendMessage")

    @property
    def endpoint(self) -> str:
        """The URL of the API method that sends messages."""
        return append_path(super().endpoint, f"/bot{self.token.get_secret_value()}/sendMessage")

    @property
    def recipient(self) -> str:
        """The chat: Telegram limits a bot in each chat separately."""
        return self.chat_id

    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events."""
        text, chat = _compose(card), self.chat_id
        is_number = chat.isascii() and chat.removeprefix("-").isdigit()
        message: dict[str, object] = {
            "chat_id": int(chat) if is_number else chat,
            "text": str(text),
            "entities": text.entities,
            "link_preview_options": {"is_disabled": True},
        }
        if card.link and _may_be_button(card.link):
            button = {"text": card.link_label, "url": card.link}
            message["reply_markup"] = {"inline_keyboard": [[button]]}
        if self.thread_id is not None:
            message["message_thread_id"] = self.thread_id
        return self.json_request(message)

    @staticmethod
    def parse_response(response: Response) -> ResponseHint:
        """Read ``parameters.retry_after`` and ``error_code``, which overrides the status.

        A success is ``{"ok": true, …}``.

        https://core.telegram.org/bots/api#making-requests
        """
        match parse_object(response.body):
            case {"ok": False, "parameters": {"retry_after": after}}:
                return ResponseHint(status=429, retry_after_s=parse_number(after))
            case {"ok": False, "error_code": int(code)} if code in ERROR_STATUSES:
                return ResponseHint(status=code)
            case {"ok": False}:
                return ResponseHint(is_rejected=True)
            case {"ok": True}:
                return NO_HINT
        return without(response, '"ok": true')


class _EntityText:
    """Builds a text and its entities, whose positions count UTF-16 units, as Telegram does."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._end = 0
        self.entities: list[dict[str, object]] = []

    def write(self, piece: str, kind: str | None = None, **more: str) -> None:
        """Append text as an entity of a ``kind``, which may have ``more`` fields.

        Text without a ``kind`` must be relay's own or the configuration's.
        """
        length = utf16_length(piece)
        if kind is not None:
            self.entities.append({"type": kind, "offset": self._end, "length": length, **more})
        self._pieces.append(piece)
        self._end += length

    def __str__(self) -> str:
        return "".join(self._pieces)


def _compose(card: Card) -> _EntityText:
    text = _EntityText()
    text.write(f"{card.emoji} ")
    _write_pieces(text, card.title_pieces(HEADLINE_MAX))
    text.write("\n")
    if card.body:
        text.write("\n")
        _write_pieces(text, card.body_pieces(CUSTOM_TEXT_MAX))
    for name, value in (*card.facts, ("Time", card.time)):
        text.write("\n")
        text.write(name, "bold")
        text.write(": ")
        _write_code(text, value, VALUE_MAX)
    each = card.share_inspect(INSPECT_MAX) - 1
    for line in card.inspect_lines(each):
        text.write("\n")
        _write_code(text, line, each)
    for output in card.output:
        text.write("\n\n")
        text.write(output.title, "bold")
        text.write("\n")
        text.write(output.fit(OUTPUT_MAX[output.title]), "pre")
    if card.link and not _may_be_button(card.link):
        text.write("\n\n")
        text.write("Link", "bold")
        text.write(": ")
        text.write(card.link, "code")
    for at, note in enumerate(card.notes):
        text.write(" · " if at else "\n\n")
        _write_code(text, note, NOTE_MAX)
    return text


def _may_be_button(link: str) -> bool:
    host = find_host(link)
    return "." in host and not host.startswith("[")


def _write_pieces(text: _EntityText, pieces: Iterable[Piece]) -> None:
    for kind, piece in pieces:
        match kind:
            case PieceKind.OWN:
                text.write(piece)
            case PieceKind.LINK:
                text.write(piece, "text_link", url=piece)
            case PieceKind.FILLED:
                text.write(piece, "pre" if "\n" in piece else "code")


def _write_code(text: _EntityText, value: str, limit: int) -> None:
    """Append inline code. It is never blank: Telegram accepts no empty entity."""
    text.write(truncate_or_blank(value, limit), "code")
