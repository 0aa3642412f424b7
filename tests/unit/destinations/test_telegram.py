"""Telegram messages."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from relay.config import Rate
from relay.core.event import Event, Origin
from relay.core.notification import build_notification
from relay.core.text import utf16_length
from relay.destinations import telegram
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import LOGS
from relay.destinations.telegram import TelegramDestination
from tests.unit.destinations.contract import EMOJI, WORDS, Contract
from tests.unit.destinations.samples import (
    ATTACKS,
    CONTAINER_GONE,
    CRASH,
    FACTS,
    MANY_FIELDS,
    NOTIFICATIONS,
    OOM,
    RESOLVED,
    crash_of,
    crash_with_included,
    custom_card,
    with_fields,
)
from tests.unit.destinations.strategies import cards
from tests.unit.destinations.updates import longest_cards

FOUND = (
    "@everyone",
    "#hashtag",
    "$USD",
    "/start@bot",
    "http://evil.example/x",
    "evil.example",
    "tg://user?id=1",
    "a@evil.example",
    "+1 212 555 0123",
    "4242 4242 4242 4242",
    "<b>x</b> *x* [x](y)",
)
"""What Telegram makes entities of by itself, and what it would in a parse mode."""
any_card = given(cards(*FOUND))

OURS = {
    "Began",
    "Cause",
    "Compose service",
    "Exit code",
    "Host",
    "Image",
    "Incident",
    "Last health check",
    "Last log lines",
    "Logs",
    "Meanwhile",
    "Memory limit",
    "Restart policy",
    "Swarm service",
    "Time",
}


DESTINATION = TelegramDestination.model_validate(
    {"token": "1:" + "x" * 10, "chat_id": "-1001234567890"}
)


def telegram_to(chat_id: str, thread_id: int | None = None) -> TelegramDestination:
    """A destination for a chat; the ``chat_id`` is not validated."""
    return DESTINATION.model_copy(update={"chat_id": chat_id, "thread_id": thread_id})


def interpreted(sent: Any) -> Iterator[str]:
    """Yield the text outside of all entities."""
    text = sent["text"].encode("utf-16-le")
    for entity in reversed(sent["entities"]):
        start, end = entity["offset"], entity["offset"] + entity["length"]
        text = text[: 2 * start] + text[2 * end :]
    yield text.decode("utf-16-le")


CONTRACT = Contract(
    keys="token: '123456:abcdefghijklmnop', chat_id: -100123",
    endpoint="https://api.telegram.org/bot123456:abcdefghijklmnop/sendMessage",
    sample=telegram_to("@ops"),
    rate=Rate(20, 60.0),
    secrets={"token": "123456:canary_canary"},
    dangerous=ATTACKS,
    interpreted=interpreted,
    severity=lambda sent: sent["text"][0],
    shown=EMOJI,
    canary={"url": "{at}", "token": "123456:{canary}_token", "chat_id": "1"},
)


def message(card: Card) -> Any:
    """The message as Telegram reads it."""
    return json.loads(DESTINATION.render(card).body)


def parts(card: Card) -> list[tuple[str | None, str]]:
    """The pieces of the text, each with the kind of its entity."""
    sent = message(card)
    text, at, found = sent["text"].encode("utf-16-le"), 0, list[tuple[str | None, str]]()
    for entity in sent["entities"]:
        start, end = entity["offset"], entity["offset"] + entity["length"]
        assert at <= start < end
        found.append((None, text[2 * at : 2 * start].decode("utf-16-le")))
        found.append((entity["type"], text[2 * start : 2 * end].decode("utf-16-le")))
        at = end
    assert 2 * at == len(text)
    return found


def facts(event: Event) -> dict[str, str]:
    """The facts by name."""
    shown = [piece for piece in parts(Card(build_notification("r", event))) if piece[0]]
    pairs = pairwise(shown)
    return {name: value for (kind, name), (_, value) in pairs if kind == "bold"}


@pytest.mark.parametrize(
    ("chat_id", "sent"),
    [("-1001234567890", -1001234567890), ("42", 42), ("@ops", "@ops"), ("-", "-"), ("٤٢", "٤٢")],
)
def test_a_chat_is_a_number_or_a_name(chat_id: str, sent: int | str) -> None:
    """A numeric ``chat_id`` is sent as a number, any other as text."""
    body = telegram_to(chat_id).render(Card(NOTIFICATIONS[0])).body
    assert json.loads(body)["chat_id"] == sent


def test_goes_to_the_topic_that_is_given() -> None:
    """``message_thread_id`` is sent only if ``thread_id`` is set."""
    body = telegram_to("1", thread_id=7).render(Card(NOTIFICATIONS[0])).body
    assert json.loads(body)["message_thread_id"] == 7
    assert "message_thread_id" not in message(Card(NOTIFICATIONS[0]))


def test_a_resolved_notification_is_green() -> None:
    """A resolved notification looks resolved, whatever its severity was."""
    assert parts(Card(RESOLVED))[:2] == [(None, "🟢 "), ("code", "Resolved: sick is unhealthy")]


def test_shows_the_facts() -> None:
    """The most important facts are shown, and only those that exist."""
    assert facts(CRASH) == {**FACTS, "Time": "2026-11-23T07:29:49Z"}
    assert set(facts(OOM)) == {"Host", "Image", "Logs", "Time"}


def test_shows_the_custom_text() -> None:
    """The title replaces the headline, and the text replaces the facts."""
    shown = parts(custom_card(NOTIFICATIONS[0], "Shop is down", "Call *Ann*\nor Bob"))
    assert [piece for piece in shown if piece[0]][:3] == [
        ("code", "Shop is down"),
        ("pre", "Call *Ann*\nor Bob"),
        ("bold", "Time"),
    ]


def test_shows_container_output_unchanged() -> None:
    """Nothing in container output is escaped, and line breaks stay."""
    card = Card(crash_with_included(logs=("<b> & @all", "", "`x`"), health="a\nb"))
    blocks = [text for kind, text in parts(card) if kind == "pre"]
    assert blocks == ["<b> & @all\n\n`x`", "a\nb"]


def test_keeps_the_last_lines_of_a_long_log() -> None:
    """The last lines tell why the container ended."""
    (shown,) = (
        text
        for kind, text in parts(Card(crash_with_included(logs=("x" * 4000, "panic"))))
        if kind == "pre"
    )
    assert shown == "…" + "x" * (telegram.OUTPUT_MAX[LOGS] - 7) + "\npanic"


def test_many_inspect_fields_share_the_space() -> None:
    """All fields that a route may ask for are shown, each of them truncated."""
    card = Card(crash_with_included(inspect={f"{n:02}": "v" * 1024 for n in range(20)}))
    shown = [text for kind, text in parts(card) if kind == "code" and ": v" in text]
    assert [text[:2] for text in shown] == [f"{n:02}" for n in range(20)]
    assert all(text.endswith("v…") for text in shown)
    paths = [text for kind, text in parts(Card(MANY_FIELDS)) if kind == "code" and "k…: " in text]
    assert len(paths) == 20
    assert all(text.endswith("v…") for text in paths)


def test_says_if_it_is_not_live_and_what_is_missing() -> None:
    """The notes say if an event is late, and if its container is gone."""
    late = Card(build_notification("r", with_fields(CRASH, origin=Origin.REPLAYED)))
    assert parts(late)[-1] == ("code", "replayed from the engine's history")
    assert parts(Card(CONTAINER_GONE))[-1] == ("code", "not included: the container is gone")


def test_a_blank_value_is_marked() -> None:
    """Telegram accepts no blank entity."""
    assert facts(with_fields(CRASH, host=" ", engine=""))["Host"] == "(blank)"


@pytest.mark.parametrize("attack", [*ATTACKS, *FOUND])
def test_a_value_cannot_pass_for_another_line(attack: str) -> None:
    """A line break in a label does not start a new line."""
    shown = facts(crash_of(attack))
    assert "\n" not in shown["Image"]
    assert set(shown) == {"Host", "Image", "Time"}


@any_card
def test_every_foreign_text_is_code(card: Card) -> None:
    """Only relay's own text is outside of entities: Telegram looks for mentions and links there."""
    for kind, text in parts(card):
        if kind is None:
            is_ours = text.strip(" \n🔴🟠🔵🟢") in ("", ":", "·")
            assert is_ours or (card.notification.update is not None and WORDS.fullmatch(text))
        elif kind == "bold":
            assert text in OURS
        else:
            assert kind in ("code", "pre")
            assert text.replace("\n", "").isprintable()
            assert text.strip() or kind == "pre"
        assert "\n" not in text or kind in (None, "pre")


@any_card
def test_keeps_every_limit_of_telegram(card: Card) -> None:
    """Neither the text nor the number of entities exceeds its limit."""
    sent = message(card)
    assert set(sent) == {"chat_id", "text", "entities", "link_preview_options"}
    assert sent["link_preview_options"] == {"is_disabled": True}
    assert 1 <= utf16_length(sent["text"]) <= telegram.TEXT_MAX
    assert 1 <= len(sent["entities"]) <= telegram.ENTITIES_MAX


@pytest.mark.parametrize("dear", ["&", "🔥", "\u202e"])
def test_the_longest_message_is_within_the_limits(dear: str) -> None:
    """Every value is present and longer than its limit."""
    for card in longest_cards(dear * 5000):
        assert 3_300 < utf16_length(message(card)["text"]) <= telegram.TEXT_MAX
        assert len(message(card)["entities"]) <= telegram.ENTITIES_MAX
