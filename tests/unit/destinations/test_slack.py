"""Slack messages."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given

from relay.config import Rate
from relay.core.event import Event
from relay.core.notification import Notification, build_notification
from relay.core.text import utf16_length
from relay.destinations import slack
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import LOGS
from relay.destinations.slack import SlackDestination
from tests.unit.destinations.contract import CHAT_STYLES, TAGS, Contract
from tests.unit.destinations.messages import strings, without_objects
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
    longest_notification,
    with_fields,
)
from tests.unit.destinations.strategies import for_people

DATE = re.compile(r"Time\n<!date\^\d+\^\{date_num\} \{time_secs\}\|[0-9T:-]+Z>")
ESCAPES = re.compile("&(amp|lt|gt);")
DESTINATION = SlackDestination.model_validate({"url": "https://hooks.slack.example/x"})
CONTRACT = Contract(
    keys="url: https://x",
    endpoint="https://x",
    sample=DESTINATION,
    rate=Rate(1, 1.0),
    dangerous=(*TAGS, "&lt;!here&gt;"),
    interpreted=lambda sent: strings(without_objects("rich_text", sent)),
    severity=lambda sent: f"{sent['text'][0]} {sent['attachments'][0]['color']}",
    shown=CHAT_STYLES,
)


def message(notification: Notification) -> Any:
    """The message as Slack reads it."""
    return json.loads(DESTINATION.render(Card(notification)).body)


def header(notification: Notification) -> str:
    """The text of the header block."""
    return str(message(notification)["blocks"][0]["text"]["text"])


def fields(event: Event) -> dict[str, str]:
    """The facts in the attachment, by name."""
    section = message(build_notification("r", event))["attachments"][0]["blocks"][0]
    return dict(field["text"].split("\n", 1) for field in section["fields"])


def context(notification: Notification) -> list[str]:
    """The notes."""
    line = message(notification)["attachments"][0]["blocks"][-1]
    return [element["text"] for element in line["elements"]]


def command(event: Event) -> tuple[str, str]:
    """The words before the command, and the command, which is code."""
    blocks = message(build_notification("r", event))["attachments"][0]["blocks"]
    (words, code) = blocks[1]["elements"][0]["elements"]
    assert code["style"] == {"code": True}
    return words["text"], code["text"]


def test_a_resolved_notification_is_green() -> None:
    """A resolved notification looks resolved, whatever its severity was."""
    assert header(RESOLVED) == "🟢 Resolved: sick is unhealthy"
    assert message(RESOLVED)["attachments"][0]["color"] == "#2eb886"


def test_a_push_notification_names_the_host() -> None:
    """The fallback text names the host, if there is one."""
    assert message(NOTIFICATIONS[1])["text"] == "🔴 oomed ran out of memory (OOM) · node-1"
    nowhere = message(build_notification("r", with_fields(OOM, host="")))
    assert nowhere["text"] == "🔴 oomed ran out of memory (OOM)"


def test_shows_the_facts() -> None:
    """The most important facts are shown, and only those that exist."""
    assert fields(CRASH) == {
        "Time": "<!date^1795418989^{date_num} {time_secs}|2026-11-23T07:29:49Z>",
        "Host": FACTS["Host"],
        "Image": FACTS["Image"],
    }
    assert command(CRASH) == ("Logs: ", FACTS["Logs"])
    assert set(fields(OOM)) == {"Time", "Host", "Image"}
    assert command(OOM) == ("Logs: ", "docker logs --since 2026-11-23T07:28:34Z oomed")


def test_shows_the_route_and_the_event() -> None:
    """The notes lead back to the configuration and to the event."""
    assert context(NOTIFICATIONS[0]) == ["route crashed", CRASH.id[:16]]
    assert context(CONTAINER_GONE)[-1] == "not included: the container is gone"


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_value_cannot_pass_for_another_field(attack: str) -> None:
    """A line break in a label does not start a new line."""
    assert "\n" not in fields(crash_of(attack))["Image"]


def test_only_our_own_date_is_markup() -> None:
    """Every text that others chose is ``plain_text`` without emoji codes."""
    for notification in NOTIFICATIONS:
        sent = message(notification)
        assert sent["mrkdwn"] is False
        for text in text_objects(sent):
            assert text["type"] == "plain_text" or DATE.fullmatch(text["text"])
            assert text.get("emoji", False) is False


def text_objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every text object in a message."""
    if isinstance(value, dict):
        if value.get("type") in ("plain_text", "mrkdwn"):
            yield value
        for item in value.values():
            yield from text_objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from text_objects(item)


def output(notification: Notification) -> list[str]:
    """The texts of container output."""
    blocks = message(notification)["attachments"][0]["blocks"]
    return [
        part["elements"][0]["text"]
        for block in blocks
        if block["type"] == "rich_text"
        for part in block["elements"]
        if part["type"] == "rich_text_preformatted"
    ]


def test_shows_container_output_unchanged() -> None:
    """Nothing in rich text is escaped, and line breaks stay."""
    assert output(crash_with_included(logs=("<!channel> & co", "", "`x`"), health="a\nb")) == [
        "<!channel> & co\n\n`x`",
        "a\nb",
    ]


@pytest.mark.parametrize("nothing", [(), ("",), ("", " ")])
def test_shows_no_empty_block(nothing: tuple[str, ...]) -> None:
    """There is no block for blank output: Slack refuses an empty text."""
    assert output(crash_with_included(logs=nothing, health="")) == []


def test_keeps_the_last_lines_of_a_long_log() -> None:
    """The last lines tell why the container ended."""
    (shown,) = output(crash_with_included(logs=("x" * 4000, "panic")))
    assert shown == "…" + "x" * (slack.OUTPUT_MAX[LOGS] - 7) + "\npanic"


def test_many_inspect_fields_share_the_space() -> None:
    """All fields that a route may ask for are shown, each of them truncated."""
    _, _, *sections, _ = message(MANY_FIELDS)["attachments"][0]["blocks"]
    texts = [field["text"] for section in sections for field in section["fields"]]
    assert [text[:2] for text in texts] == [f"{n:02}" for n in range(20)]
    assert all(text.endswith("v…") for text in texts)


@given(for_people)
def test_no_hostile_text_becomes_markup(notification: Notification) -> None:
    """Only relay's date has ``<``, ``>`` or a bare ``&``, and no text has a control character
    except line breaks."""
    for text in strings(without_rich_text(message(notification))):
        if DATE.fullmatch(text):
            continue
        assert not set("&<>") & set(ESCAPES.sub("", text))
        assert text.replace("\n", "", 1).isprintable()


@given(for_people)
def test_rich_text_holds_text_only(notification: Notification) -> None:
    """Container output never becomes a mention, a link or an emoji."""
    for text in output(notification):
        assert text.replace("\n", "").isprintable()
    for block in message(notification)["attachments"][0]["blocks"]:
        if block["type"] == "rich_text":
            assert {it["type"] for part in block["elements"] for it in part["elements"]} == {"text"}


def without_rich_text(sent: Any) -> Any:
    """The message without the rich text, in which Slack reads no markup."""
    (attachment,) = sent["attachments"]
    attachment["blocks"] = [it for it in attachment["blocks"] if it["type"] != "rich_text"]
    return sent


@given(for_people)
def test_keeps_every_limit_of_slack(notification: Notification) -> None:
    """No text is longer than Slack accepts."""
    sent = message(notification)
    (attachment,) = sent["attachments"]
    *blocks, line = attachment["blocks"]
    assert 1 <= utf16_length(sent["text"]) <= slack.TEXT_MAX
    assert len(sent["blocks"]) + len(attachment["blocks"]) <= slack.BLOCKS_MAX
    assert 1 <= utf16_length(sent["blocks"][0]["text"]["text"]) <= slack.HEADER_MAX
    for section in (block for block in blocks if block["type"] == "section"):
        assert 1 <= len(section["fields"]) <= slack.FIELDS_MAX
        assert all(
            1 <= utf16_length(field["text"]) <= slack.FIELD_MAX for field in section["fields"]
        )
    assert all(1 <= utf16_length(text) <= slack.OUTPUT_MAX[LOGS] for text in output(notification))
    assert 1 <= len(line["elements"]) <= slack.ELEMENTS_MAX
    assert all(
        1 <= utf16_length(element["text"]) <= slack.ELEMENT_MAX for element in line["elements"]
    )
    assert sum(map(utf16_length, strings(sent))) < 12_000


def test_the_longest_message_is_within_the_limits() -> None:
    """Every value is present, longer than its limit, and expensive to encode."""
    sent = message(longest_notification("&" * 5000, output="\u202e" * 4096))
    assert 10_000 < sum(map(utf16_length, strings(sent))) < 12_000
