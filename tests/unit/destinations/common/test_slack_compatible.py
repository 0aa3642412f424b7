"""The attachments that Mattermost and Rocket.Chat take."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given

from relay.core.event import Event, Origin
from relay.core.notification import Notification, build_notification
from relay.destinations.common import slack_compatible
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import LOGS
from relay.destinations.common.service import ServiceDestination
from relay.destinations.common.slack_compatible import build_attachments, message_text
from tests.unit.destinations.contract import CHAT_STYLES, WORDS, Contract
from tests.unit.destinations.messages import strings
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
from tests.unit.destinations.strategies import cards, hostile

MARKUP = (
    "@all",
    "x @here",
    "#general",
    "~town-square",
    "http://evil.example/x",
    "www.evil.example",
    "[a](http://b.example)",
    "`` ` ``` ` @all",
    "\n```\n@all",
    "$x$",
    "||x||",
    "a\n---\nb",
    "    a\n> b\n# c",
)
any_card = given(cards(*MARKUP))

BLOCK = re.compile(r"^```\n[^`]*\n```$", re.MULTILINE)
CODE = re.compile(r"`[^`\n]+`")
OURS = re.compile(r"([🔴🟠🔵🟢]|\*\*(Inspected|Last log lines|Last health check)\*\*|[ ·]|\n)*")


def facts(event: Event) -> dict[str, str]:
    """The facts by name, without the backticks."""
    found: Any = build_attachments(Card(build_notification("r", event)))[0]["fields"]
    return {field["title"]: field["value"].strip("`") for field in found}


def details(notification: Notification) -> str:
    """The text of the second attachment."""
    return str(build_attachments(Card(notification))[1]["text"])


def named(name: str) -> Card:
    """A crash of a container with this name."""
    return Card(build_notification("crashed", crash_of(name)))


def texts(card: Card) -> list[str]:
    """Every text in which the services read Markdown."""
    found = [message_text(card)]
    for part in build_attachments(card):
        fields: Any = part.get("fields", [])
        found += [str(part.get("text", "")), *(field["value"] for field in fields)]
    return found


def outside_of_code(text: str) -> str:
    """The part of a text that is not code."""
    return CODE.sub("", BLOCK.sub("", text))


def interpreted(sent: Any) -> Iterator[str]:
    """Yield the texts of a message that may hold markup: not code, nor the plain fallback."""
    sent["attachments"][0].pop("fallback", None)
    yield from map(outside_of_code, strings(sent))


def attachment_contract(sample: ServiceDestination) -> Contract:
    """The contract of a service that takes these attachments."""
    return Contract(
        keys="url: https://x",
        endpoint="https://x",
        sample=sample,
        dangerous=ATTACKS,
        interpreted=interpreted,
        severity=lambda sent: f"{sent['text'][0]} {sent['attachments'][0]['color']}",
        shown=CHAT_STYLES,
    )


def test_a_resolved_notification_is_green() -> None:
    """A resolved notification looks resolved, whatever its severity was."""
    card = Card(RESOLVED)
    assert message_text(card) == "🟢 `Resolved: sick is unhealthy`"
    assert {part["color"] for part in build_attachments(card)} == {"#2eb886"}


def test_shows_the_facts() -> None:
    """The most important facts are shown, and only those that exist."""
    assert facts(CRASH) == {"Time": "2026-11-23T07:29:49Z", **FACTS}
    assert set(facts(OOM)) == {"Time", "Host", "Image", "Logs"}


def test_shows_the_route_and_the_event() -> None:
    """The notes lead back to the configuration and to the event."""
    assert details(NOTIFICATIONS[0]) == f"`route crashed` · `{CRASH.id[:16]}`"


def test_says_if_it_is_not_live_and_what_is_missing() -> None:
    """The notes say if an event is late, and if its container is gone."""
    late = build_notification("r", with_fields(CRASH, origin=Origin.REPLAYED))
    assert details(late).endswith("· `replayed from the engine's history`")
    assert details(CONTAINER_GONE).endswith("· `not included: the container is gone`")


def test_shows_the_custom_text() -> None:
    """The title replaces the headline, and the text replaces the facts."""
    card = custom_card(NOTIFICATIONS[0], "Shop is down", "Call *Ann*\nor `Bob`")
    top = build_attachments(card)[0]
    assert message_text(card) == "🔴 `Shop is down`"
    assert top["text"] == "```\nCall *Ann*\nor ˋBobˋ\n```"
    assert [field["title"] for field in top["fields"]] == ["Time"]  # type: ignore[attr-defined]


def test_shows_container_output_unchanged() -> None:
    """Nothing in code is escaped, and line breaks stay."""
    shown = details(crash_with_included(logs=("<!channel> & *co*", "", "@all"), health="a\nb"))
    assert shown.startswith(
        "**Last log lines**\n\n```\n<!channel> & *co*\n\n@all\n```\n\n"
        "**Last health check**\n\n```\na\nb\n```\n\n"
    )


def test_keeps_the_last_lines_of_a_long_log() -> None:
    """The last lines tell why the container ended."""
    shown = details(crash_with_included(logs=("x" * 4000, "panic")))
    kept = "x" * (slack_compatible.OUTPUT_MAX[LOGS] - 7)
    assert f"```\n…{kept}\npanic\n```" in shown


def test_many_inspect_fields_share_the_space() -> None:
    """All fields that a route may ask for are shown, each of them truncated."""
    lines = details(MANY_FIELDS).split("```")[1].strip().split("\n")
    assert [line[:2] for line in lines] == [f"{n:02}" for n in range(20)]
    assert all(line.endswith("v…") for line in lines)
    assert sum(len(line) + 1 for line in lines) <= slack_compatible.INSPECT_MAX


@pytest.mark.parametrize("attack", [*ATTACKS, *MARKUP])
def test_a_name_cannot_leave_its_code(attack: str) -> None:
    """No backtick and no line break in a name ends its code."""
    for text in (message_text(named(attack)), facts(named(attack).event)["Image"]):
        assert "\n" not in text
    assert re.fullmatch(r"🔴 `[^`\n]+`", message_text(named(attack)))


def test_nobody_is_found_in_a_headline() -> None:
    """A zero-width space breaks each mention: Rocket.Chat looks for mentions in code too."""
    assert message_text(named("@all #general")).startswith("🔴 `@\u200ball #\u200bgeneral ")


def test_a_blank_value_is_marked() -> None:
    """Empty code is not code, and Rocket.Chat refuses a field without a value."""
    assert facts(with_fields(CRASH, host=" ", engine=""))["Host"] == "(blank)"


@any_card
def test_every_foreign_text_is_code(card: Card) -> None:
    """Only relay's own text is outside of code."""
    is_update = card.notification.update is not None
    for text in texts(card):
        rest = outside_of_code(text)
        is_ours = is_update and WORDS.fullmatch(re.sub(r"\*\*|\\(?=\*)", "", rest))
        assert OURS.fullmatch(rest) or is_ours
        assert text.replace("\u200b", "").replace("\n", "").isprintable()
    for first, second in re.findall("([@#])(.)", message_text(card)):
        assert (first, second) in (("@", "\u200b"), ("#", "\u200b"))


@any_card
def test_every_block_stands_alone(card: Card) -> None:
    """Blank lines surround every block, so no line in it changes the text above."""
    for text in texts(card):
        around = BLOCK.sub("\0", text).split("\0")
        assert all(it == "" or it.endswith("\n\n") for it in around[:-1])
        assert all(it == "" or it.startswith("\n\n") for it in around[1:])


@any_card
def test_every_text_says_something(card: Card) -> None:
    """No code is empty, and no field is without a value."""
    for text in texts(card)[2:]:
        assert text.replace("`", "").strip()


@given(hostile)
def test_only_the_headline_has_anything_invisible(value: str) -> None:
    """Facts can be copied without zero-width spaces."""
    assert not [text for text in texts(named(value))[1:] if "\u200b" in text]
