"""Cards as plain text."""

import re

import msgspec
import pytest
from hypothesis import given

from relay.core.event import Event, Origin
from relay.core.notification import build_notification
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS
from relay.destinations.common.plain_text import TextLimits, break_links, render_plain_text
from tests.unit.destinations.samples import (
    ATTACKS,
    CONTAINER_GONE,
    CRASH,
    FACTS,
    MANY_FIELDS,
    NOTIFICATIONS,
    OOM,
    crash_of,
    crash_with_included,
    custom_card,
    filled,
    with_fields,
)
from tests.unit.destinations.strategies import cards

LIMITS = TextLimits(
    size=len, value=100, custom_text=200, inspect=450, output={LOGS: 300, HEALTH: 100}, notes=120
)
ADDRESSES = (
    "http://evil.example/x",
    "see https://evil/x.",
    "www.evil.example",
    "evil.example",
    "a@evil.example",
    "10.0.0.5:80",
)
any_card = given(cards(*ADDRESSES))

LINK = re.compile(r"://|\w\.\w")
"""What an app turns into a link: ``://``, or a dot within a word."""


def lines(event: Event) -> list[str]:
    """The lines of the text for one event."""
    return render_plain_text(Card(build_notification("crashed", event)), LIMITS).split("\n")


def test_shows_the_facts() -> None:
    """The facts come first, then the time, and the notes follow after a blank line."""
    assert lines(CRASH) == [
        *(f"{name}: {value}" for name, value in FACTS.items()),
        "Time: 2026-11-23T07:29:49Z",
        "",
        f"route crashed · {CRASH.id[:16]}",
    ]
    assert len(lines(OOM)) == 6


def test_shows_the_custom_text() -> None:
    """The text replaces the facts and keeps its line breaks."""
    card = custom_card(NOTIFICATIONS[0], text="Call Ann\nor Bob")
    assert render_plain_text(card, LIMITS).startswith("Call Ann\nor Bob\nTime: ")
    assert "Host" not in render_plain_text(card, LIMITS)


def test_shows_container_output_after_a_bar() -> None:
    """No line of the output looks like one of relay's."""
    notification = crash_with_included(
        logs=("Cause: none", "", "route x · evt_1"), health="fine\nHost: me"
    )
    shown = render_plain_text(Card(notification), LIMITS)
    assert "\n\nLast log lines:\n│ Cause: none\n│ \n│ route x · evt_1\n\n" in shown
    assert "\n\nLast health check:\n│ fine\n│ Host: me\n\n" in shown


def test_keeps_the_last_lines_of_a_long_log() -> None:
    """The last lines tell why the container ended."""
    shown = render_plain_text(Card(crash_with_included(logs=("x" * 4000, "panic"))), LIMITS)
    assert "\n│ …xxx" in shown
    assert "xxx\n│ panic\n" in shown


def test_many_inspect_fields_share_the_space() -> None:
    """All fields that a route may ask for are shown, each truncated to one line."""
    notification = crash_with_included(inspect={f"{n:02}": "v" * 1024 for n in range(20)})
    found = re.findall(r"^\d\d: v+…$", render_plain_text(Card(notification), LIMITS), re.MULTILINE)
    assert len(found) == 20
    assert sum(len(line) + 1 for line in found) <= LIMITS.inspect
    paths = re.findall(
        r"^\d\dk+…: v+…$", render_plain_text(Card(MANY_FIELDS), LIMITS), re.MULTILINE
    )
    assert len(paths) == 20


def test_says_if_it_is_not_live_and_what_is_missing() -> None:
    """The notes say if an event is late, and if its container is gone."""
    late = with_fields(CRASH, origin=Origin.REPLAYED)
    assert lines(late)[-1].endswith("replayed from the engine's history")
    assert render_plain_text(Card(CONTAINER_GONE), LIMITS).endswith(
        "not included: the container is gone"
    )


@pytest.mark.parametrize("address", ADDRESSES)
def test_breaks_what_looks_like_an_address(address: str) -> None:
    """Only zero-width spaces are added, and no app finds a link."""
    assert LINK.search(address)
    assert not LINK.search(break_links(filled(address)))
    assert break_links(filled(address)).replace("\u200b", "") == address


@pytest.mark.parametrize("text", ["shop-web-1", "bb:1", "exit code 42.", "a: b", "//", "…"])
def test_leaves_what_no_app_links(text: str) -> None:
    """A text that no app turns into a link is unchanged."""
    assert break_links(filled(text)) == text


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_value_cannot_pass_for_another_line(attack: str) -> None:
    """A line break in a label does not start a new line."""
    names = [line.split(":")[0] for line in lines(crash_of(attack))[:-2]]
    assert names == ["Host", "Image", "Time"]


@any_card
def test_nothing_is_a_link(card: Card) -> None:
    """No text becomes a link, and the only invisible characters are relay's zero-width spaces."""
    shown = render_plain_text(card, LIMITS)
    assert not LINK.search(shown)
    assert shown.replace("\u200b", "").replace("\n", "").isprintable()


@any_card
def test_keeps_the_limits(card: Card) -> None:
    """The text is at most as long as all limits together, in any unit."""
    limits = msgspec_size(LIMITS)
    names = 7 * len("Compose service: \n") + len("Last log lines:\n\nLast health check:\n\n\n\n")
    most = 7 * limits.value + limits.custom_text + limits.inspect + limits.notes
    most += sum(limits.output.values()) + 2 * names
    assert 1 <= limits.size(render_plain_text(card, limits)) <= most


def msgspec_size(limits: TextLimits) -> TextLimits:
    """The same limits in bytes of JSON."""
    return TextLimits(
        size=lambda text: len(msgspec.json.encode(text)) - 2,
        value=limits.value,
        custom_text=limits.custom_text,
        inspect=limits.inspect,
        output=limits.output,
        notes=limits.notes,
    )
