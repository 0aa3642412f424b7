"""Microsoft Teams messages."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given

from relay.core.notification import Notification, build_notification
from relay.core.text import utf16_length
from relay.destinations import teams
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.teams import TeamsDestination
from tests.unit.destinations.contract import Contract
from tests.unit.destinations.messages import strings, without_objects
from tests.unit.destinations.samples import (
    ATTACKS,
    CUSTOM_CARD,
    NOTIFICATIONS,
    RESOLVED,
    SAMPLE_CARDS,
    crash_of,
    crash_with_included,
    custom_card,
)
from tests.unit.destinations.strategies import cards
from tests.unit.destinations.updates import longest_cards

FUNCTIONS = (
    "{{DATE(2017-02-14T06:00:00Z, SHORT)}}",
    "{{TIME(2017-02-14T06:00:00Z)}}",
    "{{{TIME(2017-02-14T06:00:00Z)}}}",
    "{{DATE({{DATE(2017-02-14T06:00:00Z)}}",
)
FUNCTION = re.compile(r"\{\{(DATE|TIME)\(")
ESCAPED = re.compile(r"\\(.)")
LOOK = {"type", "text", "size", "weight", "color", "fontType", "isSubtle"}
"""The keys that a run may have: no ``selectAction``, which would make it a link."""

any_card = given(cards(*FUNCTIONS))
DESTINATION = TeamsDestination.model_validate({"url": "https://flow.example/x"})
CONTRACT = Contract(
    keys="url: https://x",
    endpoint="https://x",
    sample=DESTINATION,
    golden=(*SAMPLE_CARDS, CUSTOM_CARD),
    dangerous=ATTACKS,
    interpreted=lambda sent: strings(without_objects("TextRun", sent)),
    severity=lambda sent: sent["attachments"][0]["content"]["body"][0]["inlines"][0]["color"],
    shown=("Attention", "Warning", "Accent", "Good"),
)


def message(card: Card) -> Any:
    """The message as a workflow reads it."""
    return json.loads(DESTINATION.render(card).body)


def content(card: Card) -> Any:
    """The Adaptive Card of a message."""
    (attachment,) = message(card)["attachments"]
    return attachment["content"]


def blocks(value: Any) -> Iterator[list[dict[str, Any]]]:
    """The runs of every block, from top to bottom."""
    if isinstance(value, dict):
        if value.get("type") == "RichTextBlock":
            yield value["inlines"]
        for item in value.values():
            yield from blocks(item)
    elif isinstance(value, list):
        for item in value:
            yield from blocks(item)


def texts(card: Card) -> list[str]:
    """The text of every block."""
    return ["".join(run["text"] for run in runs) for runs in blocks(content(card))]


def headline(notification: Notification) -> tuple[str, str]:
    """The headline and its colour."""
    run = next(blocks(content(Card(notification))))[0]
    return run["text"], run["color"]


def facts(card: Card) -> dict[str, str]:
    """The facts by name."""
    pairs = [runs for runs in blocks(content(card)) if len(runs) == 2]
    return {name["text"].removesuffix(": "): value["text"] for name, value in pairs}


def notes(card: Card) -> list[str]:
    """The notes."""
    return texts(card)[-1].split(" · ")


def output(card: Card) -> dict[str, str]:
    """The texts of container output by title."""
    body = content(card)["body"]
    grounds = [element for element in body if element["type"] == "Container"]
    pairs = [[runs[0] for runs in blocks(ground)] for ground in grounds]
    assert all(text["fontType"] == "Monospace" for _, text in pairs)
    return {title["text"]: text["text"] for title, text in pairs}


def test_is_what_a_workflow_takes() -> None:
    """The body has the form that the trigger accepts: a message whose attachments are cards."""
    sent = message(Card(NOTIFICATIONS[0]))
    assert sent["type"] == "message"
    assert sent["attachments"][0]["contentType"] == "application/vnd.microsoft.card.adaptive"


def test_a_resolved_notification_is_green() -> None:
    """A resolved notification looks resolved, whatever its severity was."""
    assert headline(RESOLVED) == ("🟢 Resolved: sick is unhealthy", "Good")


def test_custom_text_replaces_the_facts() -> None:
    """The text and its line breaks are unchanged."""
    shown = texts(custom_card(NOTIFICATIONS[0], "*a*", "b **c**\n- [d](http://e)"))
    assert shown[:2] == ["🔴 *a*", "b **c**\n- [d](http://e)"]
    assert shown[2].startswith("Time: ")
    assert len(shown) == 4


def test_shows_container_output_unchanged() -> None:
    """Nothing in a run is escaped, and line breaks stay."""
    included = crash_with_included(logs=("<at>you</at> & *co*", "", "`x`"), health="a\nb")
    assert output(Card(included)) == {
        LOGS: "<at>you</at> & *co*\n\n`x`",
        HEALTH: "a\nb",
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_text_is_a_function(function: str) -> None:
    """A space between the braces is the only change."""
    card = custom_card(build_notification("r", crash_of(function)), function)
    assert not any(map(FUNCTION.search, texts(card)))
    assert function in [text.replace("{ {", "{{").removeprefix("Image: ") for text in texts(card)]


def test_other_braces_stay_as_they_are() -> None:
    """Braces without ``DATE(`` or ``TIME(`` are unchanged."""
    included = crash_with_included(logs=("{{json .}} {{DATE}}",))
    assert output(Card(included))[LOGS] == "{{json .}} {{DATE}}"


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_value_cannot_pass_for_another_fact(attack: str) -> None:
    """A line break in a label does not start a new line."""
    assert "\n" not in facts(Card(build_notification("r", crash_of(attack))))["Image"]


@any_card
def test_every_text_is_a_run(card: Card) -> None:
    """All texts are runs, in which Teams reads no Markdown, and none has an action."""
    for element in content(card)["body"]:
        assert element["type"] in ("RichTextBlock", "Container")
        assert element.keys() <= {"type", "style", "items", "inlines", "spacing", "separator"}
    for runs in blocks(content(card)):
        for run in runs:
            assert run["type"] == "TextRun"
            assert run.keys() <= LOOK


@any_card
def test_no_text_holds_a_function_or_a_control(card: Card) -> None:
    """Only texts of several lines have line breaks."""
    for text in texts(card):
        assert text.strip()
        assert not FUNCTION.search(text)
        assert text.replace("\n", "").isprintable()


@any_card
def test_nobody_is_ever_notified(card: Card) -> None:
    """The message has no entity, so it cannot mention anybody."""
    assert content(card)["msteams"] == {"width": "Full"}


@any_card
def test_keeps_the_limit_of_teams(card: Card) -> None:
    """The message is within the limit in UTF-8 and in UTF-16."""
    assert_limit(DESTINATION.render(card).body)


def assert_limit(body: bytes) -> None:
    """Check the size as sent, and in UTF-16 without the escapes of JSON."""
    assert len(body) <= teams.MESSAGE_MAX
    assert 2 * utf16_length(ESCAPED.sub(r"\1", body.decode())) <= teams.MESSAGE_MAX


@pytest.mark.parametrize("dear", ["x", '"', "語", "🔥", "\u202e", "a\n", "{{DATE("])
def test_the_longest_message_is_within_the_limits(dear: str) -> None:
    """Every value is present, longer than its limit, and expensive to encode."""
    for card in longest_cards(dear * 5000):
        body = DESTINATION.render(card).body
        assert_limit(body)
        assert len(body) > 9_000
