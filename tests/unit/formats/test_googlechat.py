"""Google Chat messages."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.event import Actor, Event, Origin
from relay.formats import googlechat
from relay.formats.card import HEALTH, LOGS, Card
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
    hostile,
    notifications,
)

GOLDEN = Path(__file__).parent / "golden" / "googlechat.json"
WORDED = Card(
    NOTIFICATIONS[0],
    "Shop is down",
    "It ended with *42*.\n- see <http://runbook.example>\n# soon",
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

words = hostile | st.sampled_from(MARKUP)
cards = st.builds(
    Card,
    notifications,
    given_title=st.none() | words,
    text=st.none() | st.lists(words).map("\n".join),
)


def message(card: Card) -> Any:
    """The message as Google Chat reads it."""
    return json.loads(googlechat.render(card, "https://chat.example/x").body)


def sections(card: Card) -> list[Any]:
    """Those of its card."""
    (only,) = message(card)["cardsV2"]
    return list(only["card"]["sections"])


def widgets(card: Card) -> Iterator[dict[str, Any]]:
    """All of them."""
    for section in sections(card):
        yield from section["widgets"]


def texts(card: Card) -> list[str]:
    """What every widget says in HTML."""
    return [body["text"] for widget in widgets(card) for body in widget.values()]


def facts(event: Event) -> dict[str, str]:
    """What is said below the headline, by name."""
    shown = [widget.get("decoratedText") for widget in widgets(Card(notify("r", event)))]
    return {fact["topLabel"]: fact["text"] for fact in shown if fact}


def notes(notification: Notification) -> list[str]:
    """The small print."""
    line = texts(Card(notification))[-1]
    return line.removeprefix('<font color="#80868b">').removesuffix("</font>").split(" · ")


def told(**included: Any) -> Notification:
    """A crash whose route asked for more, and got this."""
    return msgspec.structs.replace(notify("crashed", CRASH, INCLUDE), included=Included(**included))


def printed(notification: Notification) -> dict[str, str]:
    """What the container printed, by its title."""
    return {
        section["header"]: section["widgets"][0]["textParagraph"]["text"]
        for section in sections(Card(notification))
        if "header" in section
    }


def longest(dear: str, *, worded: bool) -> Card:
    """All that there can be at once, each longer than it may be."""
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
        exit_code=-(2**31),
    )
    included = Included(
        logs=(dear,),
        health=dear,
        inspect={f"{n}{dear}": dear for n in range(20)},
        missing=dear,
    )
    most = 2**63 - 1
    notification = Notification(
        dear, dear, (event,), count=most, suppressed=most, include=INCLUDE, included=included
    )
    return Card(notification, dear, dear) if worded else Card(notification)


def test_reads_as_it_was_approved() -> None:
    """A crash, an OOM, a failing health check, more and other words are as in the golden file."""
    all_kinds = [*map(Card, (*NOTIFICATIONS, TOLD, GONE)), WORDED]
    bodies = b",".join(googlechat.render(card, "").body for card in all_kinds)
    written = msgspec.json.format(b"[" + bodies + b"]", indent=2) + b"\n"
    assert written.decode() == GOLDEN.read_text()


def test_goes_to_the_webhook_as_json() -> None:
    """The request is what a webhook takes."""
    request = googlechat.render(Card(NOTIFICATIONS[0]), "https://chat.example/x")
    assert (request.method, request.url) == ("POST", "https://chat.example/x")
    assert request.headers == {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("event", "emoji"),
    [
        (CRASH, "🔴"),
        (container("kill", 1, "a", {}, signal=9), "🟠"),
        (container("start", 1, "a", {}), "🔵"),
    ],
)
def test_looks_as_severe_as_it_is(event: Event, emoji: str) -> None:
    """The emoji comes from the severity."""
    card = Card(notify("r", event))
    assert texts(card)[0].startswith(f"{emoji} <b>")
    assert message(card)["fallbackText"].startswith(f"{emoji} ")


def test_a_resolved_one_is_green() -> None:
    """What is over looks like it, however bad it was."""
    over = Notification("ntf_1", "r", (UNHEALTHY,), Status.RESOLVED)
    assert texts(Card(over))[0] == "🟢 <b>Resolved: sick is unhealthy</b>"


def test_a_notification_on_a_phone_names_the_host() -> None:
    """Whoever sees only that learns where to look; without a host nothing is said of one."""
    shown = message(Card(NOTIFICATIONS[1]))["fallbackText"]
    assert shown == "🔴 oomed ran out of memory (OOM) · node-1"
    nowhere = Card(notify("r", msgspec.structs.replace(OOM, host="")))
    assert message(nowhere)["fallbackText"] == "🔴 oomed ran out of memory (OOM)"


def test_says_where_and_how_it_ended() -> None:
    """The facts that somebody needs first, and only those that there are."""
    assert facts(CRASH) == {
        "Time": "2026-11-23 07:29:49 UTC",
        "Host": "node-1 (engine “here”)",
        "Image": "bb:1",
        "Compose service": "shop / web",
        "Exit code": "42",
        "Cause": "crashed",
    }
    assert set(facts(OOM)) == {"Time", "Host", "Image"}


def test_tells_the_route_and_the_event() -> None:
    """The small print leads back to the configuration and to the event."""
    assert notes(NOTIFICATIONS[0]) == ["route crashed", CRASH.id]
    assert notes(GONE)[-1] == "not included: the container is gone"


def test_says_what_the_configuration_says_in_place_of_the_facts() -> None:
    """Line breaks stay, and nothing in it is markup."""
    shown = texts(Card(NOTIFICATIONS[0], "<i>a", "b & *c*\n<d>"))
    assert shown[:2] == ["🔴 <b>&lt;i&gt;a</b>", "b &amp; *c*<br>&lt;d&gt;"]
    assert len(shown) == 4


@pytest.mark.parametrize("nothing", ["", "  ", "\n"])
def test_has_no_blank_text(nothing: str) -> None:
    """A value that shows nothing says so; a text or a log that does is left out."""
    card = Card(told(logs=(nothing,), inspect={"State.Error": nothing}), None, nothing)
    _, _, error, _ = texts(card)
    assert error == googlechat.BLANK


def test_shows_what_the_container_printed() -> None:
    """In sections of their own, with its line breaks."""
    assert printed(told(logs=("<users/all> & co", "", "`x`"), health="a\nb")) == {
        LOGS: "&lt;users/all&gt; &amp; co<br><br>`x`",
        HEALTH: "a<br>b",
    }


def test_keeps_the_last_lines_of_a_long_log() -> None:
    """They are the ones that tell why it ended."""
    shown = printed(told(logs=("x" * 4000, "panic")))[LOGS]
    assert shown == "…" + "x" * (googlechat.PRINTED_MAX[LOGS] - 7) + "<br>panic"


def test_many_inspect_fields_share_the_room() -> None:
    """The most that a route may ask for, all of them long, are all there, each cut."""
    card = Card(told(inspect={f"{n:02}" + "k" * 198: "v" * 1024 for n in range(20)}))
    shown = [widget["decoratedText"] for widget in widgets(card) if "decoratedText" in widget]
    assert [fact["topLabel"][:2] for fact in shown[-20:]] == [f"{n:02}" for n in range(20)]
    assert all(fact["text"].endswith("v…") for fact in shown[-20:])


@pytest.mark.parametrize("attack", [*MARKUP, *ATTACKS])
def test_no_tag_is_somebody_elses(attack: str) -> None:
    """Neither in a value nor in a text of the configuration."""
    event = msgspec.structs.replace(CRASH, actor=Actor("a", attack, attack, {}), host=attack)
    notification = msgspec.structs.replace(told(logs=(attack,)), events=(event,))
    for card in (Card(notification), Card(notification, attack, attack)):
        for text in texts(card):
            assert not set("&<>") & set(ENTITY.sub("", OURS.sub("", text)))


def test_a_notification_on_a_phone_mentions_nobody() -> None:
    """It is plain text, and even if it were not, no mention is left in it."""
    shown = message(Card(NOTIFICATIONS[0], "<users/all> <b>"))["fallbackText"]
    assert shown == "🔴 <\u200busers/all> <\u200bb> · node-1"


@given(cards)
def test_nothing_hostile_becomes_markup(card: Card) -> None:
    """No ``<``, ``>`` or bare ``&`` but in our own tags, and no control."""
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


@given(cards)
def test_only_the_line_breaks_of_texts_are_tags(card: Card) -> None:
    """The headline, a fact and the small print have one line, and only our own tags."""
    first, *_, last = texts(card)
    assert re.fullmatch(r"\S <b>[^<>]*</b>", first)
    assert re.fullmatch(r'<font color="#80868b">[^<>]*</font>', last)
    for widget in widgets(card):
        if "decoratedText" in widget:
            assert not set("<>") & set(widget["decoratedText"]["text"])


@given(cards)
def test_has_no_text_that_could_mention_somebody(card: Card) -> None:
    """The ``text`` of a message knows mentions and links; there is none, and no Markdown."""
    assert set(message(card)) == {"fallbackText", "cardsV2"}
    for widget in widgets(card):
        for body in widget.values():
            assert body.keys() <= {"text", "topLabel", "wrapText"}


@given(cards)
def test_keeps_every_limit_of_google_chat(card: Card) -> None:
    """Whatever comes."""
    assert len(googlechat.render(card, "").body) <= googlechat.MESSAGE_MAX
    assert 1 <= len(list(widgets(card))) <= googlechat.WIDGETS_MAX
    assert all(section["widgets"] for section in sections(card))


@pytest.mark.parametrize("worded", [False, True])
@pytest.mark.parametrize("dear", ["x", '"', "&", "語", "🔥", "\u202e", "a\n", "\n\n\na"])
def test_all_at_its_longest_is_still_a_message(dear: str, worded: bool) -> None:
    """Every value there is at once, each longer than it may be and dear to write."""
    body = googlechat.render(longest(dear * 5000, worded=worded), "").body
    assert 8_000 < len(body) <= googlechat.MESSAGE_MAX
