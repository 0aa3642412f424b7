"""Google Chat messages."""

import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given

from relay.config import Rate
from relay.core.event import Actor, Event
from relay.core.notification import Notification, build_notification
from relay.core.text import BLANK
from relay.destinations import googlechat
from relay.destinations.common.card import HEALTH, LOGS, Card
from relay.destinations.googlechat import GoogleChatDestination
from tests.unit.destinations.contract import EMOJI, TAGS, Contract
from tests.unit.destinations.messages import format_golden, read_golden
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
    SAMPLE_NOTIFICATIONS,
    cards,
    crash_with_included,
    longest_cards,
    with_fields,
)

MARKUP = (
    '<a href="https://evil.example">relay</a>',
    "<users/all>",
    '<font color="#fff">x</font><br><b>y',
    "</b></font>",
    "&#60;b&#62;&lt;b&gt;",
)
ENTITY = re.compile("&(amp|lt|gt);")
OURS = re.compile(r'<b>|</b>|<br>|<font color="#80868b">|</font>')
"""The tags that we set ourselves."""

any_card = given(cards(*MARKUP))
DESTINATION = GoogleChatDestination.model_validate({"url": "https://chat.example/x"})
CONTRACT = Contract(
    keys="url: 'https://x/v1/spaces/A/messages?key=k&token=t'",
    endpoint="https://x/v1/spaces/A/messages?key=k&token=t",
    rate=Rate(1, 1.0),
    dangerous=TAGS,
    severity=lambda sent: sent["fallbackText"][0],
    shown=EMOJI,
)


def message(card: Card) -> Any:
    """The message as Google Chat reads it."""
    return json.loads(DESTINATION.render(card).body)


def sections(card: Card) -> list[Any]:
    """The sections of a message's card."""
    (only,) = message(card)["cardsV2"]
    return list(only["card"]["sections"])


def widgets(card: Card) -> Iterator[dict[str, Any]]:
    """All widgets of a message's card."""
    for section in sections(card):
        yield from section["widgets"]


def texts(card: Card) -> list[str]:
    """The HTML of every widget."""
    return [body["text"] for widget in widgets(card) for body in widget.values()]


def facts(event: Event) -> dict[str, str]:
    """The facts by name."""
    shown = [
        widget.get("decoratedText") for widget in widgets(Card(build_notification("r", event)))
    ]
    return {fact["topLabel"]: fact["text"] for fact in shown if fact}


def notes(notification: Notification) -> list[str]:
    """The notes."""
    line = texts(Card(notification))[-1]
    return line.removeprefix('<font color="#80868b">').removesuffix("</font>").split(" · ")


def output(notification: Notification) -> dict[str, str]:
    """The texts of container output by title."""
    return {
        section["header"]: section["widgets"][0]["textParagraph"]["text"]
        for section in sections(Card(notification))
        if "header" in section
    }


def test_matches_the_golden_file() -> None:
    """A crash, an OOM, a failing health check, included data and custom texts match the file."""
    bodies = (
        DESTINATION.render(card).body for card in (*map(Card, SAMPLE_NOTIFICATIONS), CUSTOM_CARD)
    )
    assert format_golden(bodies) == read_golden("googlechat.json")


def test_a_resolved_notification_is_green() -> None:
    """A resolved notification looks resolved, whatever its severity was."""
    assert texts(Card(RESOLVED))[0] == "🟢 <b>Resolved: sick is unhealthy</b>"


def test_a_notification_on_a_phone_names_the_host() -> None:
    """``fallbackText`` names the host, if there is one."""
    shown = message(Card(NOTIFICATIONS[1]))["fallbackText"]
    assert shown == "🔴 oomed ran out of memory (OOM) · node-1"
    nowhere = Card(build_notification("r", with_fields(OOM, host="")))
    assert message(nowhere)["fallbackText"] == "🔴 oomed ran out of memory (OOM)"


def test_shows_the_facts() -> None:
    """The most important facts are shown, and only those that exist."""
    assert facts(CRASH) == {"Time": "2026-11-23 07:29:49 UTC", **FACTS}
    assert set(facts(OOM)) == {"Time", "Host", "Image"}


def test_shows_the_route_and_the_event() -> None:
    """The notes lead back to the configuration and to the event."""
    assert notes(NOTIFICATIONS[0]) == ["route crashed", CRASH.id]
    assert notes(CONTAINER_GONE)[-1] == "not included: the container is gone"


def test_custom_text_replaces_the_facts() -> None:
    """The text keeps its line breaks, and nothing in it is a tag."""
    shown = texts(Card(NOTIFICATIONS[0], "<i>a", "b & *c*\n<d>"))
    assert shown[:2] == ["🔴 <b>&lt;i&gt;a</b>", "b &amp; *c*<br>&lt;d&gt;"]
    assert len(shown) == 4


@pytest.mark.parametrize("nothing", ["", "  ", "\n"])
def test_has_no_blank_text(nothing: str) -> None:
    """Blank values are marked, and blank custom texts and output are left out."""
    card = Card(
        crash_with_included(logs=(nothing,), inspect={"State.Error": nothing}), None, nothing
    )
    *_, cause, error, _ = texts(card)
    assert (cause, error) == ("crashed", BLANK)


def test_shows_container_output() -> None:
    """Each kind of output has its own section and keeps its line breaks."""
    assert output(crash_with_included(logs=("<users/all> & co", "", "`x`"), health="a\nb")) == {
        LOGS: "&lt;users/all&gt; &amp; co<br><br>`x`",
        HEALTH: "a<br>b",
    }


def test_keeps_the_last_lines_of_a_long_log() -> None:
    """The last lines tell why the container ended."""
    shown = output(crash_with_included(logs=("x" * 4000, "panic")))[LOGS]
    assert shown == "…" + "x" * (googlechat.OUTPUT_MAX[LOGS] - 7) + "<br>panic"


def test_many_inspect_fields_share_the_space() -> None:
    """All fields that a route may ask for are shown, each of them truncated."""
    inspected = list(widgets(Card(MANY_FIELDS)))[-21:-1]
    shown = [widget["decoratedText"] for widget in inspected]
    assert [fact["topLabel"][:2] for fact in shown] == [f"{n:02}" for n in range(20)]
    assert all(fact["text"].endswith("v…") for fact in shown)


@pytest.mark.parametrize("attack", [*MARKUP, *ATTACKS])
def test_no_tag_is_somebody_elses(attack: str) -> None:
    """No value and no custom text adds a tag."""
    event = with_fields(CRASH, actor=Actor("a", attack, attack, {}), host=attack)
    notification = msgspec.structs.replace(crash_with_included(logs=(attack,)), events=(event,))
    for card in (Card(notification), Card(notification, attack, attack)):
        for text in texts(card):
            assert not set("&<>") & set(ENTITY.sub("", OURS.sub("", text)))


def test_a_notification_on_a_phone_mentions_nobody() -> None:
    """A zero-width space breaks every mention in ``fallbackText``."""
    shown = message(Card(NOTIFICATIONS[0], "<users/all> <b>"))["fallbackText"]
    assert shown == "🔴 <\u200busers/all> <\u200bb> · node-1"


@any_card
def test_no_hostile_text_becomes_markup(card: Card) -> None:
    """Only relay's own tags have ``<``, ``>`` or a bare ``&``, and there are no control
    characters."""
    labels = [
        fact["topLabel"] for widget in widgets(card) for fact in widget.values() if len(fact) > 1
    ]
    for text in (*texts(card), *labels):
        assert text.strip()
        assert not set("&<>") & set(ENTITY.sub("", OURS.sub("", text)))
        assert text.isprintable()
    fallback = message(card)["fallbackText"].replace("<\u200b", "")
    assert "<" not in fallback
    assert fallback.isprintable()


@any_card
def test_only_the_line_breaks_of_texts_are_tags(card: Card) -> None:
    """Headline, facts and notes have one line each, and only relay's own tags."""
    first, *_, last = texts(card)
    assert re.fullmatch(r"\S <b>[^<>]*</b>", first)
    assert re.fullmatch(r'<font color="#80868b">[^<>]*</font>', last)
    for widget in widgets(card):
        if "decoratedText" in widget:
            assert not set("<>") & set(widget["decoratedText"]["text"])


@any_card
def test_has_no_text_that_could_mention_somebody(card: Card) -> None:
    """The message has no ``text``, in which Google Chat reads mentions, links and Markdown."""
    assert set(message(card)) == {"fallbackText", "cardsV2"}
    for widget in widgets(card):
        for body in widget.values():
            assert body.keys() <= {"text", "topLabel", "wrapText"}


@any_card
def test_keeps_every_limit_of_google_chat(card: Card) -> None:
    """Size and number of widgets are within the limits."""
    assert len(DESTINATION.render(card).body) <= googlechat.MESSAGE_MAX
    assert 1 <= len(list(widgets(card))) <= googlechat.WIDGETS_MAX
    assert all(section["widgets"] for section in sections(card))


@pytest.mark.parametrize("dear", ["x", '"', "&", "語", "🔥", "\u202e", "a\n", "\n\n\na"])
def test_the_longest_message_is_within_the_limits(dear: str) -> None:
    """Every value is present, longer than its limit, and expensive to encode."""
    for card in longest_cards(dear * 5000):
        assert 8_000 < len(DESTINATION.render(card).body) <= googlechat.MESSAGE_MAX
