"""The content of messages for people, in every service."""

import pytest
from hypothesis import given

from relay.core.event import Origin
from relay.core.notification import Notification, build_notification
from relay.core.text import BLANK, utf16_length
from relay.destinations.common.card import Card
from relay.destinations.common.container_output import HEALTH, LOGS, Output
from relay.destinations.common.pieces import join
from tests.unit.destinations.samples import (
    CONTAINER_GONE,
    CRASH,
    FACTS,
    INCLUDE,
    MANY_FIELDS,
    NOTIFICATIONS,
    OOM,
    container_event,
    crash_with_included,
    custom_card,
    with_fields,
)
from tests.unit.destinations.strategies import cards


def facts(card: Card) -> dict[str, str]:
    """The facts by name."""
    return dict(card.facts)


def test_says_when_it_happened() -> None:
    """The time is in UTC, cut to the second."""
    card = Card(NOTIFICATIONS[0])
    assert card.time == "2026-11-23T07:29:49Z"
    assert card.readable_time == "2026-11-23 07:29:49 UTC"


def test_shows_the_facts() -> None:
    """The most important facts are shown in this order, and only those that exist."""
    assert Card(NOTIFICATIONS[0]).facts == list(FACTS.items())
    assert set(facts(Card(build_notification("r", OOM)))) == {"Host", "Image", "Logs"}


def test_names_the_swarm_service() -> None:
    """Unless the name of its task begins with it."""
    labels = {"com.docker.swarm.service.name": "svc", "name": "svc.1.8sje4501"}
    task = container_event("start", 1, "a", labels)
    assert "Swarm service" not in facts(Card(build_notification("r", task)))
    other = container_event("start", 1, "a", {**labels, "name": "svc-1"})
    assert facts(Card(build_notification("r", other)))["Swarm service"] == "svc"


@pytest.mark.parametrize("engine", ["node-1", ""])
def test_an_engine_called_like_its_host_is_named_once(engine: str) -> None:
    """The engine is named only if its name differs from the host."""
    assert (
        facts(Card(build_notification("r", with_fields(CRASH, engine=engine))))["Host"] == "node-1"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Call Ann\n", "Call Ann\n"), ("", ""), (" \n", "")],
)
def test_shows_the_custom_text(text: str, expected: str) -> None:
    """A text replaces the facts unchanged; a blank one is ignored."""
    card = custom_card(NOTIFICATIONS[0], text=text)
    assert join(card.body) == expected
    assert card.facts == ([] if expected else list(FACTS.items()))
    assert card.facts == ([] if expected else list(FACTS.items()))


@pytest.mark.parametrize("title", ["", " \n"])
def test_always_has_a_headline(title: str) -> None:
    """A blank title is ignored: relay's headline is shown."""
    assert custom_card(NOTIFICATIONS[1], title).title(60) == "oomed ran out of memory (OOM)"


@pytest.mark.parametrize("title", ["a\nb", "\n a \r\n\n b \n", "a\u2028b"])
def test_a_title_is_one_line(title: str) -> None:
    """The lines of a title are joined with spaces."""
    assert custom_card(NOTIFICATIONS[0], title).title(60) == "a b"


def test_shows_the_route_and_the_event() -> None:
    """The notes lead back to the configuration and to the event."""
    assert Card(NOTIFICATIONS[0]).notes == ["route crashed", CRASH.id[:16]]


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (Origin.REPLAYED, "replayed from the engine's history"),
        (Origin.INFERRED, "found by comparing containers: the engine sent no event"),
    ],
)
def test_says_if_it_is_not_live(origin: Origin, expected: str) -> None:
    """A note says if the event was replayed or inferred."""
    assert Card(build_notification("r", with_fields(CRASH, origin=origin))).notes[-1] == expected


def test_says_what_was_held_back() -> None:
    """A note has the number of suppressed notifications."""
    assert Card(Notification("ntf_1", "r", (CRASH,), suppressed=7)).notes[-1] == "7 held back"


def test_says_what_is_missing() -> None:
    """A note says why data could not be included."""
    assert Card(CONTAINER_GONE).notes[-1] == "not included: the container is gone"
    late = Card(build_notification("crashed", CRASH, INCLUDE))
    assert late.notes[-1] == "not included: could not be had in time"


@pytest.mark.parametrize("nothing", [(), ("",), ("", " ")])
def test_shows_no_empty_block(nothing: tuple[str, ...]) -> None:
    """Blank output has no title."""
    assert Card(crash_with_included(logs=nothing, health="a\nb")).output == [
        Output(HEALTH, (("", "a\nb"),))
    ]
    assert Card(crash_with_included(logs=(*nothing, "x"), health=" ")).output[0].title == LOGS


def test_many_inspect_fields_share_the_space() -> None:
    """All fields are shown, with truncated paths and values."""
    shown = Card(MANY_FIELDS).fit_inspect_fields(1_000, 200)
    assert shown == [(f"{n:02}{'k' * 22}…", "v" * 24 + "…") for n in range(20)]


def test_a_few_inspect_fields_keep_the_limit_of_each() -> None:
    """Unused space does not raise the limit of one field; a short path leaves its space to the
    value."""
    card = Card(crash_with_included(inspect={"State.Error": "v" * 1024, "Path": " "}))
    assert card.fit_inspect_fields(1_000, 31) == [("State.Error", "v" * 19 + "…"), ("Path", BLANK)]
    assert Card(NOTIFICATIONS[0]).fit_inspect_fields(1_000, 31) == []


@given(cards())
def test_inspect_fields_keep_their_limits(card: Card) -> None:
    """Each field and their total are within the limits, and none is blank."""
    shown = card.fit_inspect_fields(1_000, 100)
    sizes = [utf16_length(name) + utf16_length(value) for name, value in shown]
    assert all(name.strip() and value.strip() for name, value in shown)
    assert all(size <= 100 for size in sizes)
    assert sum(sizes) <= 1_000
