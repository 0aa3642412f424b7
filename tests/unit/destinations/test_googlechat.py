"""Google Chat messages."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given

from relay.config import Rate
from relay.core.notification import build_notification
from relay.destinations import googlechat
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.googlechat import GoogleChatDestination
from tests.unit.destinations.contract import EMOJI, TAGS, Contract
from tests.unit.destinations.samples import (
    ATTACKS,
    CUSTOM_CARD,
    NOTIFICATIONS,
    OOM,
    RESOLVED,
    SAMPLE_CARDS,
    crash_with_included,
    custom_card,
    hostile_notification,
    with_fields,
)
from tests.unit.destinations.strategies import cards
from tests.unit.destinations.updates import longest_cards

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
    sample=DESTINATION,
    golden=(*SAMPLE_CARDS, CUSTOM_CARD),
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


def facts(card: Card) -> dict[str, str]:
    """The facts by name."""
    shown = [widget.get("decoratedText") for widget in widgets(card)]
    return {fact["topLabel"]: fact["text"] for fact in shown if fact}


def notes(card: Card) -> list[str]:
    """The notes."""
    line = texts(card)[-1]
    return line.removeprefix('<font color="#80868b">').removesuffix("</font>").split(" · ")


def output(card: Card) -> dict[str, str]:
    """The texts of container output by title."""
    return {
        section["header"]: section["widgets"][0]["textParagraph"]["text"]
        for section in sections(card)
        if "header" in section
    }


def test_a_resolved_notification_is_green() -> None:
    """A resolved notification looks resolved, whatever its severity was."""
    assert texts(Card(RESOLVED))[0] == "🟢 <b>Resolved: sick is unhealthy</b>"


def test_a_notification_on_a_phone_names_the_host() -> None:
    """``fallbackText`` names the host, if there is one."""
    shown = message(Card(NOTIFICATIONS[1]))["fallbackText"]
    assert shown == "🔴 oomed ran out of memory (OOM) · node-1"
    nowhere = Card(build_notification("r", with_fields(OOM, host="")))
    assert message(nowhere)["fallbackText"] == "🔴 oomed ran out of memory (OOM)"


def test_custom_text_replaces_the_facts() -> None:
    """The text keeps its line breaks, and nothing in it is a tag."""
    shown = texts(custom_card(NOTIFICATIONS[0], "<i>a", "b & *c*\n<d>"))
    assert shown[:2] == ["🔴 <b>&lt;i&gt;a</b>", "b &amp; *c*<br>&lt;d&gt;"]
    assert len(shown) == 4


def test_shows_container_output() -> None:
    """Each kind of output has its own section and keeps its line breaks."""
    included = crash_with_included(logs=("<users/all> & co", "", "`x`"), health="a\nb")
    assert output(Card(included)) == {
        LOGS: "&lt;users/all&gt; &amp; co<br><br>`x`",
        HEALTH: "a<br>b",
    }


@pytest.mark.parametrize("attack", [*MARKUP, *ATTACKS])
def test_no_tag_is_somebody_elses(attack: str) -> None:
    """No value and no custom text adds a tag."""
    notification = hostile_notification(attack)
    for card in (Card(notification), custom_card(notification, attack, attack)):
        for text in texts(card):
            assert not set("&<>") & set(ENTITY.sub("", OURS.sub("", text)))


def test_a_notification_on_a_phone_mentions_nobody() -> None:
    """A zero-width space breaks every mention in ``fallbackText``."""
    shown = message(custom_card(NOTIFICATIONS[0], "<users/all> <b>"))["fallbackText"]
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
