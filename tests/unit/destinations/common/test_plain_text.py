"""Cards as plain text."""

import re

import msgspec
import pytest
from hypothesis import given

from relay.core.event import Actor, Event, Origin
from relay.core.notification import notify
from relay.destinations.common.card import HEALTH, LOGS, Card
from relay.destinations.common.plain_text import Limits, plain, without_links
from tests.unit.destinations.samples import (
    ATTACKS,
    CRASH,
    FACTS,
    GONE,
    MANY_FIELDS,
    NOTIFICATIONS,
    OOM,
    cards,
    changed,
    told,
)

LIMITS = Limits(
    size=len, value=100, said=200, inspected=450, printed={LOGS: 300, HEALTH: 100}, notes=120
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
"""Nothing without either is one to an app."""


def lines(event: Event) -> list[str]:
    """What is said of one event."""
    return plain(Card(notify("crashed", event)), LIMITS).split("\n")


def test_says_where_and_how_it_ended() -> None:
    """The facts, the time behind them, and the small print apart."""
    assert lines(CRASH) == [
        *(f"{name}: {value}" for name, value in FACTS.items()),
        "Time: 2026-11-23T07:29:49Z",
        "",
        f"route crashed · {CRASH.id}",
    ]
    assert len(lines(OOM)) == 5


def test_says_what_the_configuration_says() -> None:
    """Its text stands in place of the facts, line breaks and all."""
    card = Card(NOTIFICATIONS[0], None, "Call Ann\nor Bob")
    assert plain(card, LIMITS).startswith("Call Ann\nor Bob\nTime: ")
    assert "Host" not in plain(card, LIMITS)


def test_shows_what_the_container_printed_behind_a_bar() -> None:
    """None of its lines passes for one of ours."""
    notification = told(logs=("Cause: none", "", "route x · evt_1"), health="fine\nHost: me")
    shown = plain(Card(notification), LIMITS)
    assert "\n\nLast log lines:\n│ Cause: none\n│ \n│ route x · evt_1\n\n" in shown
    assert "\n\nLast health check:\n│ fine\n│ Host: me\n\n" in shown


def test_keeps_the_last_lines_of_a_long_log() -> None:
    """They are the ones that tell why it ended."""
    shown = plain(Card(told(logs=("x" * 4000, "panic"))), LIMITS)
    assert "\n│ …xxx" in shown
    assert "xxx\n│ panic\n" in shown


def test_many_inspect_fields_share_the_room() -> None:
    """The most that a route may ask for are all there, each on a line, each cut."""
    notification = told(inspect={f"{n:02}": "v" * 1024 for n in range(20)})
    found = re.findall(r"^\d\d: v+…$", plain(Card(notification), LIMITS), re.MULTILINE)
    assert len(found) == 20
    assert sum(len(line) + 1 for line in found) <= LIMITS.inspected
    paths = re.findall(r"^\d\dk+…: v+…$", plain(Card(MANY_FIELDS), LIMITS), re.MULTILINE)
    assert len(paths) == 20


def test_says_when_it_is_not_live_and_what_is_missing() -> None:
    """Whoever reads a late event, or one of a container that is gone, is told so."""
    late = changed(CRASH, origin=Origin.REPLAYED)
    assert lines(late)[-1].endswith("replayed from the engine's history")
    assert plain(Card(GONE), LIMITS).endswith("not included: the container is gone")


@pytest.mark.parametrize("address", ADDRESSES)
def test_breaks_what_looks_like_an_address(address: str) -> None:
    """Only invisible spaces are added, and no app finds a link."""
    assert LINK.search(address)
    assert not LINK.search(without_links(address))
    assert without_links(address).replace("\u200b", "") == address


@pytest.mark.parametrize("text", ["shop-web-1", "bb:1", "exit code 42.", "a: b", "//", "…"])
def test_leaves_what_no_app_links(text: str) -> None:
    """A name can be copied as it is."""
    assert without_links(text) == text


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_value_cannot_pass_for_another_line(attack: str) -> None:
    """A line break in a label starts no new line."""
    event = changed(CRASH, actor=Actor("a", attack, attack, {"name": attack}))
    names = [line.split(":")[0] for line in lines(event)[:-2]]
    assert names == ["Host", "Image", "Exit code", "Cause", "Time"]


@any_card
def test_nothing_is_a_link(card: Card) -> None:
    """Whatever the names, the logs and the texts are; and nothing but our own spaces is hidden."""
    shown = plain(card, LIMITS)
    assert not LINK.search(shown)
    assert shown.replace("\u200b", "").replace("\n", "").isprintable()


@any_card
def test_keeps_the_limits(card: Card) -> None:
    """However ``size`` counts, the whole is no longer than its parts may be together."""
    limits = msgspec_size(LIMITS)
    names = 7 * len("Compose service: \n") + len("Last log lines:\n\nLast health check:\n\n\n\n")
    most = 7 * limits.value + limits.said + limits.inspected + limits.notes
    most += sum(limits.printed.values()) + 2 * names
    assert 1 <= limits.size(plain(card, limits)) <= most


def msgspec_size(limits: Limits) -> Limits:
    """The same limits in bytes of JSON."""
    return Limits(
        size=lambda text: len(msgspec.json.encode(text)) - 2,
        value=limits.value,
        said=limits.said,
        inspected=limits.inspected,
        printed=limits.printed,
        notes=limits.notes,
    )
