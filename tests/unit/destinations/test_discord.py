"""Discord messages."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given

from relay.config import Rate
from relay.core.event import Event
from relay.core.notification import Notification, build_notification
from relay.core.text import BLANK, utf16_length
from relay.destinations import discord
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.discord import DiscordDestination
from tests.unit.destinations.contract import CHAT_STYLES, MARKDOWN, TAGS, Contract
from tests.unit.destinations.messages import strings
from tests.unit.destinations.samples import (
    ATTACKS,
    CONTAINER_GONE,
    CRASH,
    CUSTOM_CARD,
    FACTS,
    MANY_FIELDS,
    NOTIFICATIONS,
    OOM,
    RESOLVED,
    SAMPLE_CARDS,
    container_event,
    crash_of,
    crash_with_included,
    custom_card,
    longest_notification,
)
from tests.unit.destinations.strategies import cards
from tests.unit.destinations.updates import longest_cards

MARKUP = (
    *(attack for attack in ATTACKS if len(attack) < 100),
    "https://evil.example/x?y=z",
    "steam://run/1",
    "[text](https://evil.example)",
    "@everyone @here",
    "<@123> <@&123> <#123> <:a:123> <a:b:123> <t:1618953630:R> </cmd:123> <id:browse>",
    "# heading",
    "-# small",
    ">>> quote",
    "- a",
    "1. a",
    "||spoiler||",
    ":+1:",
    "\\*a*",
    "\\",
    "`" * 7,
)
ESCAPE = re.compile(r"\\[^0-9A-Za-z\s]")
"""What Discord takes for an escape: a backslash and a character of punctuation."""
ACTIVE = set("\\`*_~|<>[]#@:-.")
"""What could begin markup, a mention, an emoji, an address, a list."""
BLOCK = re.compile(r"\*\*(Last log lines|Last health check)\*\*\n```\n(.*?)\n```", re.DOTALL)
GAP = "`\u200b"

any_card = given(cards(*MARKUP))
DESTINATION = DiscordDestination.model_validate({"url": "https://discord.example/x"})


def interpreted(sent: Any) -> Iterator[str]:
    """Yield the texts in which Discord reads Markdown: all except the footer and code blocks."""
    embed = sent["embeds"][0]
    del embed["footer"]
    yield from (re.sub(r"```\n.*?\n```", "", text, flags=re.S) for text in strings(embed))


CONTRACT = Contract(
    keys="url: https://x/api/webhooks/1/t",
    endpoint="https://x/api/webhooks/1/t?wait=true",
    sample=DESTINATION,
    golden=(*SAMPLE_CARDS, CUSTOM_CARD),
    rate=Rate(5, 2.0),
    dangerous=(*TAGS, *MARKDOWN),
    interpreted=interpreted,
    severity=lambda sent: f"{sent['embeds'][0]['title'][0]} #{sent['embeds'][0]['color']:06x}",
    shown=CHAT_STYLES,
    canary={"url": "{at}/api/webhooks/1/{canary}-token"},
)


def message(card: Card) -> Any:
    """The message as Discord reads it."""
    return json.loads(DESTINATION.render(card).body)


def embed(notification: Notification) -> Any:
    """The only embed of a message."""
    (only,) = message(Card(notification))["embeds"]
    return only


def fields(event: Event) -> dict[str, str]:
    """The facts, by name."""
    return {
        field["name"]: field["value"] for field in embed(build_notification("r", event))["fields"]
    }


def footer(notification: Notification) -> list[str]:
    """The notes."""
    return str(embed(notification)["footer"]["text"]).split(" · ")


def output(sent: Any) -> dict[str, str]:
    """The texts of container output by title, as Discord shows them."""
    return dict(BLOCK.findall(sent.get("description", "")))


def custom_text_lines(sent: Any) -> list[str]:
    """Every text in which Discord reads Markdown, without relay's own titles and code blocks."""
    title = sent["title"].replace("Resolved: ", "", 1)
    description = BLOCK.sub("", sent.get("description", ""))
    names_and_values = [
        text for field in sent["fields"] for text in (field["name"], field["value"])
    ]
    return [title, description, *names_and_values]


def length(sent: Any) -> int:
    """The length of all texts that count towards the total."""
    named = [utf16_length(field["name"]) + utf16_length(field["value"]) for field in sent["fields"]]
    texts = (sent["title"], sent.get("description", ""), sent["footer"]["text"])
    return sum(map(utf16_length, texts)) + sum(named)


def test_a_resolved_notification_is_green() -> None:
    """A resolved notification looks resolved, whatever its severity was."""
    sent = embed(RESOLVED)
    assert (sent["title"], sent["color"]) == ("🟢 Resolved: sick is unhealthy", 0x2EB886)


def test_shows_the_facts() -> None:
    """The most important facts are shown, and only those that exist."""
    assert fields(CRASH) == {
        "Host": r"node\-1 (engine “here”)",
        "Image": r"bb\:1",
        "Logs": f"`{FACTS['Logs']}`",
    }
    assert set(fields(OOM)) == {"Host", "Image", "Logs"}


def test_shows_the_time_of_the_event() -> None:
    """The timestamp is in UTC, in milliseconds."""
    assert embed(NOTIFICATIONS[0])["timestamp"] == "2026-11-23T07:29:49.176Z"


def test_shows_the_route_and_the_event() -> None:
    """The notes lead back to the configuration and to the event."""
    assert footer(NOTIFICATIONS[0]) == ["route crashed", CRASH.id[:16]]
    assert footer(CONTAINER_GONE)[-1] == "not included: the container is gone"


def test_custom_text_replaces_the_facts() -> None:
    """Line breaks stay, and nothing in the text is markup."""
    notification = crash_with_included(logs=("panic",), inspect={"RestartCount": 3})
    (sent,) = message(custom_card(notification, text="a *b*\n# c"))["embeds"]
    assert sent["description"].startswith("a \\*b\\*\n\\# c\n**Last log lines**\n```\n")
    assert [field["name"] for field in sent["fields"]] == ["RestartCount"]


@pytest.mark.parametrize("nothing", ["", "  ", "\n"])
def test_has_no_blank_text(nothing: str) -> None:
    """Blank values are marked, and a blank description is left out."""
    (sent,) = message(
        custom_card(
            crash_with_included(logs=(nothing,), inspect={"State.Error": nothing}), text=nothing
        )
    )["embeds"]
    assert "description" not in sent
    assert [field["value"] for field in sent["fields"][-2:]] == [f"`{FACTS['Logs']}`", BLANK]


def test_shows_container_output_unchanged() -> None:
    """Nothing in a code block is escaped, and line breaks stay."""
    assert output(
        embed(crash_with_included(logs=("<@1> *a* http://b", "", "c"), health="d\ne"))
    ) == {
        LOGS: "<@1> *a* http://b\n\nc",
        HEALTH: "d\ne",
    }


def test_nothing_printed_ends_its_code_block() -> None:
    """A zero-width space separates adjacent backticks."""
    assert output(embed(crash_with_included(logs=("```", "# a", "``")))) == {
        LOGS: f"{GAP * 3}\n# a\n{GAP * 2}"
    }


def test_keeps_the_last_lines_of_a_long_log() -> None:
    """The last lines tell why the container ended."""
    shown = output(embed(crash_with_included(logs=("x" * 4000, "panic"))))[LOGS]
    assert shown == "…" + "x" * (discord.OUTPUT_MAX[LOGS] - 7) + "\npanic"


def test_many_inspect_fields_share_the_space() -> None:
    """All fields that a route may ask for are shown, each of them truncated."""
    inspected = embed(MANY_FIELDS)["fields"][-20:]
    assert [field["name"][:2] for field in inspected] == [f"{n:02}" for n in range(20)]
    assert all(field["value"].endswith("v…") for field in inspected)


def test_counts_the_fields_that_are_left_out() -> None:
    """Discord accepts a limited number of fields; the others are counted."""
    (sent,) = message(custom_card(longest_notification("a"), "Title"))["embeds"]
    assert len(sent["fields"]) == discord.FIELDS_MAX
    assert sent["fields"][-1] == {"name": "…", "value": "and 3 more", "inline": True}


def test_an_address_is_no_link() -> None:
    """A backslash before the colon is invisible and breaks the address."""
    assert fields(container_event("start", 1, "a", {"image": "https://evil.example"}))["Image"] == (
        r"https\://evil\.example"
    )


@pytest.mark.parametrize("attack", MARKUP)
def test_no_markup_is_left_active(attack: str) -> None:
    """A backslash precedes every character that could start markup."""
    notification = build_notification("r", crash_of(attack, host=attack))
    sent = embed(notification)
    custom = message(custom_card(notification, attack, attack))["embeds"][0]
    for text in (*custom_text_lines(sent), *custom_text_lines(custom)):
        assert not ACTIVE & set(ESCAPE.sub("", text))


@any_card
def test_no_hostile_text_becomes_markup(card: Card) -> None:
    """No character that starts markup is without a backslash, and only texts of several lines
    have line breaks."""
    sent = message(card)["embeds"][0]
    for text in custom_text_lines(sent):
        assert not ACTIVE & set(ESCAPE.sub("", text))
        assert text.replace("\n", "").isprintable()
    for text in (sent["title"], sent["footer"]["text"], *(it["value"] for it in sent["fields"])):
        assert "\n" not in text


@any_card
def test_nothing_printed_is_more_than_text(card: Card) -> None:
    """There is one code block for each title, without a run of backticks or a control character
    in it."""
    shown = output(message(card)["embeds"][0])
    assert list(shown) == [it.title for it in card.output]
    for text in shown.values():
        assert "``" not in text
        assert text.replace(GAP, "").replace("\n", "").isprintable()


@any_card
def test_nobody_is_ever_notified(card: Card) -> None:
    """``allowed_mentions`` is empty, and the message has no text beside the embed."""
    sent = message(card)
    assert sent["allowed_mentions"] == {"parse": []}
    assert set(sent) == {"embeds", "allowed_mentions"}


@any_card
def test_keeps_every_limit_of_discord(card: Card) -> None:
    """No text is blank or longer than Discord accepts."""
    (sent,) = message(card)["embeds"]
    assert_limits(sent)


def assert_limits(sent: Any) -> None:
    """Check each text and the total; Discord does not count blanks at the ends."""
    texts = [
        (sent["title"], discord.TITLE_MAX),
        (sent.get("description", "x"), discord.DESCRIPTION_MAX),
        (sent["footer"]["text"], discord.FOOTER_MAX),
        *((field["name"], discord.FIELD_NAME_MAX) for field in sent["fields"]),
        *((field["value"], discord.FIELD_VALUE_MAX) for field in sent["fields"]),
    ]
    for text, limit in texts:
        assert text.strip()
        assert utf16_length(text) <= limit
    assert len(sent["fields"]) <= discord.FIELDS_MAX
    assert length(sent) <= discord.TOTAL_MAX


@pytest.mark.parametrize("dear", ["x", "-", "`", "🔥", "\u202e", "a\n"])
def test_the_longest_message_is_within_the_limits(dear: str) -> None:
    """Every value is present, longer than its limit, and expensive to encode."""
    for card in longest_cards(dear * 5000):
        (sent,) = message(card)["embeds"]
        assert_limits(sent)
        assert length(sent) > 5_500
