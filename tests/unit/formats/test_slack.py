"""Slack messages."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given

from relay.event import Actor, Event, Origin
from relay.formats import slack
from relay.formats.card import LOGS, Card
from relay.formats.text import units
from relay.notification import Included, Notification, Status, notify

from .samples import (
    ATTACKS,
    CRASH,
    GONE,
    INCLUDE,
    NOTIFICATIONS,
    OOM,
    TOLD,
    UNHEALTHY,
    container,
    notifications,
)

GOLDEN = Path(__file__).parent / "golden" / "slack.json"
DATE = re.compile(r"Time\n<!date\^\d+\^\{date_num\} \{time_secs\}\|[0-9T:-]+Z>")
ESCAPES = re.compile("&(amp|lt|gt);")


def message(notification: Notification) -> Any:
    """The message as Slack reads it."""
    return json.loads(slack.render(Card(notification), "https://hooks.slack.example/x").body)


def header(notification: Notification) -> str:
    """The headline."""
    return str(message(notification)["blocks"][0]["text"]["text"])


def fields(event: Event) -> dict[str, str]:
    """The facts beside the bar, by name."""
    section = message(notify("r", event))["attachments"][0]["blocks"][0]
    return dict(field["text"].split("\n", 1) for field in section["fields"])


def context(notification: Notification) -> list[str]:
    """The small print."""
    line = message(notification)["attachments"][0]["blocks"][-1]
    return [element["text"] for element in line["elements"]]


def strings(value: Any) -> Iterator[str]:
    """Every string in a message."""
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from strings(item)
        case dict():
            for item in value.values():
                yield from strings(item)


def test_reads_as_it_was_approved() -> None:
    """A crash, an OOM, a failing health check, and crashes with more are as in the golden file."""
    all_kinds = (*NOTIFICATIONS, TOLD, GONE)
    bodies = b",".join(slack.render(Card(notification), "").body for notification in all_kinds)
    written = msgspec.json.format(b"[" + bodies + b"]", indent=2) + b"\n"
    assert written.decode() == GOLDEN.read_text()


def test_goes_to_the_webhook_as_json() -> None:
    """The request is what an incoming webhook takes."""
    request = slack.render(Card(NOTIFICATIONS[0]), "https://hooks.slack.example/x")
    assert request.url == "https://hooks.slack.example/x"
    assert request.headers == {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("event", "look"),
    [
        (CRASH, ("🔴", "#d0021b")),
        (container("kill", 1, "a", {}, signal=9), ("🟠", "#f5a623")),
        (container("start", 1, "a", {}), ("🔵", "#439fe0")),
    ],
)
def test_looks_as_severe_as_it_is(event: Event, look: tuple[str, str]) -> None:
    """Emoji and colour come from the severity."""
    emoji = header(notify("r", event))[0]
    assert (emoji, message(notify("r", event))["attachments"][0]["color"]) == look


def test_a_resolved_one_is_green() -> None:
    """What is over looks like it, however bad it was."""
    over = Notification("ntf_1", "r", (UNHEALTHY,), Status.RESOLVED)
    assert header(over) == "🟢 Resolved: sick is unhealthy"
    assert message(over)["attachments"][0]["color"] == "#2eb886"


def test_a_push_notification_names_the_host() -> None:
    """Whoever sees only that learns where to look; without a host nothing is said of one."""
    assert message(NOTIFICATIONS[1])["text"] == "🔴 oomed ran out of memory (OOM) · node-1"
    nowhere = message(notify("r", msgspec.structs.replace(OOM, host="")))
    assert nowhere["text"] == "🔴 oomed ran out of memory (OOM)"


def test_says_where_and_how_it_ended() -> None:
    """The facts that somebody needs first, and only those that there are."""
    assert fields(CRASH) == {
        "Time": "<!date^1795418989^{date_num} {time_secs}|2026-11-23T07:29:49Z>",
        "Host": "node-1 (engine “here”)",
        "Image": "bb:1",
        "Compose service": "shop / web",
        "Exit code": "42",
        "Cause": "crashed",
    }
    assert set(fields(OOM)) == {"Time", "Host", "Image"}


def test_names_the_swarm_service() -> None:
    """A swarm task is known by its service."""
    labels = {"com.docker.swarm.service.name": "svc", "name": "svc.1.8sje4501"}
    assert fields(container("start", 1, "a", labels))["Swarm service"] == "svc"


@pytest.mark.parametrize("engine", ["node-1", ""])
def test_an_engine_called_like_its_host_is_named_once(engine: str) -> None:
    """The engine's name is said only where it adds something."""
    assert fields(msgspec.structs.replace(CRASH, engine=engine))["Host"] == "node-1"


def test_tells_the_route_and_the_event() -> None:
    """The small print leads back to the configuration and to the event."""
    assert context(NOTIFICATIONS[0]) == ["route crashed", CRASH.id]


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (Origin.REPLAYED, "replayed from the engine's history"),
        (Origin.INFERRED, "found by comparing containers: the engine sent no event"),
    ],
)
def test_says_when_it_is_not_live(origin: Origin, said: str) -> None:
    """Somebody who reads a late or an inferred event is told so."""
    assert context(notify("r", msgspec.structs.replace(CRASH, origin=origin)))[-1] == said


def test_says_what_was_held_back() -> None:
    """What noise control suppressed is counted."""
    assert context(Notification("ntf_1", "r", (CRASH,), suppressed=7))[-1] == "7 held back"


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_value_cannot_pass_for_another_field(attack: str) -> None:
    """A line break in a label starts no new line."""
    event = msgspec.structs.replace(CRASH, actor=Actor("a", attack, attack, {"name": attack}))
    assert "\n" not in fields(event)["Image"]


def test_only_our_own_date_is_markup() -> None:
    """Every text that holds somebody else's words is plain text, without emoji codes."""
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


def printed(notification: Notification) -> list[str]:
    """What stands in a fixed width."""
    blocks = message(notification)["attachments"][0]["blocks"]
    return [
        part["elements"][0]["text"]
        for block in blocks
        if block["type"] == "rich_text"
        for part in block["elements"]
        if part["type"] == "rich_text_preformatted"
    ]


def told(**included: Any) -> Notification:
    """A crash whose route asked for more, and got this."""
    return msgspec.structs.replace(notify("crashed", CRASH, INCLUDE), included=Included(**included))


def test_shows_what_the_container_printed_as_it_is() -> None:
    """Rich text takes everything as it is, so nothing in it is escaped, and line breaks stay."""
    assert printed(told(logs=("<!channel> & co", "", "`x`"), health="a\nb")) == [
        "<!channel> & co\n\n`x`",
        "a\nb",
    ]


@pytest.mark.parametrize("nothing", [(), ("",), ("", " ")])
def test_shows_no_empty_block(nothing: tuple[str, ...]) -> None:
    """Slack refuses a text without any."""
    assert printed(told(logs=nothing, health="")) == []


def test_keeps_the_last_lines_of_a_long_log() -> None:
    """They are the ones that tell why it ended."""
    (shown,) = printed(told(logs=("x" * 4000, "panic")))
    assert shown == "…" + "x" * (slack.PRINTED_MAX[LOGS] - 7) + "\npanic"


def test_many_inspect_fields_share_the_room() -> None:
    """The most that a route may ask for, all of them long, are all there, each cut."""
    notification = told(inspect={f"{n:02}" + "k" * 198: "v" * 1024 for n in range(20)})
    _, *sections, _ = message(notification)["attachments"][0]["blocks"]
    texts = [field["text"] for section in sections for field in section["fields"]]
    assert [text[:2] for text in texts] == [f"{n:02}" for n in range(20)]
    assert all(text.endswith("v…") for text in texts)


def test_says_what_could_not_be_had() -> None:
    """A container that is gone leaves a word of that."""
    assert context(GONE)[-1] == "not included: the container is gone"
    late = notify("crashed", CRASH, INCLUDE)
    assert context(late)[-1] == "not included: could not be had in time"


@given(notifications)
def test_nothing_hostile_becomes_markup(notification: Notification) -> None:
    """No ``<``, ``>`` or bare ``&`` but in our own date, and no control but our line break."""
    for text in strings(without_rich_text(message(notification))):
        if DATE.fullmatch(text):
            continue
        assert not set("&<>") & set(ESCAPES.sub("", text))
        assert text.replace("\n", "", 1).isprintable()


@given(notifications)
def test_rich_text_holds_text_only(notification: Notification) -> None:
    """No mention, link or emoji is ever made of what a container printed."""
    for text in printed(notification):
        assert text.replace("\n", "").isprintable()
    for block in message(notification)["attachments"][0]["blocks"]:
        if block["type"] == "rich_text":
            assert {it["type"] for part in block["elements"] for it in part["elements"]} == {"text"}


def without_rich_text(sent: Any) -> Any:
    """The message without its blocks in which Slack reads no markup."""
    (attachment,) = sent["attachments"]
    attachment["blocks"] = [it for it in attachment["blocks"] if it["type"] != "rich_text"]
    return sent


@given(notifications)
def test_keeps_every_limit_of_slack(notification: Notification) -> None:
    """Slack refuses a message for one text too long: whatever comes, none is."""
    sent = message(notification)
    (attachment,) = sent["attachments"]
    *blocks, line = attachment["blocks"]
    assert 1 <= units(sent["text"]) <= slack.TEXT_MAX
    assert len(sent["blocks"]) + len(attachment["blocks"]) <= slack.BLOCKS_MAX
    assert 1 <= units(sent["blocks"][0]["text"]["text"]) <= slack.HEADER_MAX
    for section in (block for block in blocks if block["type"] == "section"):
        assert 1 <= len(section["fields"]) <= slack.FIELDS_MAX
        assert all(1 <= units(field["text"]) <= slack.FIELD_MAX for field in section["fields"])
    assert all(1 <= units(text) <= slack.PRINTED_MAX[LOGS] for text in printed(notification))
    assert 1 <= len(line["elements"]) <= slack.ELEMENTS_MAX
    assert all(1 <= units(element["text"]) <= slack.ELEMENT_MAX for element in line["elements"])
    assert sum(map(units, strings(sent))) < 12_000


def test_all_at_its_longest_is_still_a_message() -> None:
    """Every value there is at once, each longer than it may be and dear to write."""
    dear = "&" * 5000
    labels = {
        "com.docker.compose.project": dear,
        "com.docker.compose.service": dear,
        "com.docker.swarm.service.name": dear,
    }
    event = msgspec.structs.replace(
        CRASH,
        id=dear,
        engine=dear,
        host=dear,
        actor=Actor(dear, dear, dear, labels),
        origin=Origin.INFERRED,
    )
    included = Included(
        logs=("\u202e" * 4096,),
        health="\u202e" * 4096,
        inspect={f"{n}{dear}": dear for n in range(20)},
        missing=dear,
    )
    most = 2**63 - 1
    notification = Notification(
        dear, dear, (event,), count=most, suppressed=most, include=INCLUDE, included=included
    )
    assert 10_000 < sum(map(units, strings(message(notification)))) < 12_000
