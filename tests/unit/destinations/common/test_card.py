"""What a notification says to a person, whatever the vendor."""

import pytest
from hypothesis import given

from relay.core.event import Origin
from relay.core.notification import Notification, build_notification
from relay.core.text import BLANK, utf16_length
from relay.destinations.common.card import HEALTH, LOGS, Card
from tests.unit.destinations.samples import (
    CONTAINER_GONE,
    CRASH,
    FACTS,
    INCLUDE,
    MANY_FIELDS,
    NOTIFICATIONS,
    OOM,
    cards,
    container_event,
    crash_with_included,
    with_fields,
)


def facts(card: Card) -> dict[str, str]:
    """By name."""
    return dict(card.facts)


def test_says_when_it_happened() -> None:
    """In UTC to the second, and nothing is rounded up."""
    card = Card(NOTIFICATIONS[0])
    assert card.time == "2026-11-23T07:29:49Z"
    assert card.readable_time == "2026-11-23 07:29:49 UTC"


def test_shows_the_facts() -> None:
    """The most important facts are shown in this order, and only those that exist."""
    assert Card(NOTIFICATIONS[0]).facts == list(FACTS.items())
    assert set(facts(Card(build_notification("r", OOM)))) == {"Host", "Image"}


def test_names_the_swarm_service() -> None:
    """A swarm task is identified by its service."""
    labels = {"com.docker.swarm.service.name": "svc", "name": "svc.1.8sje4501"}
    assert (
        facts(Card(build_notification("r", container_event("start", 1, "a", labels))))[
            "Swarm service"
        ]
        == "svc"
    )


@pytest.mark.parametrize("engine", ["node-1", ""])
def test_an_engine_called_like_its_host_is_named_once(engine: str) -> None:
    """The engine's name is said only where it adds something."""
    assert (
        facts(Card(build_notification("r", with_fields(CRASH, engine=engine))))["Host"] == "node-1"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [("Call Ann\n", "Call Ann\n"), ("", ""), (" \n", ""), (None, "")],
)
def test_shows_the_custom_text(text: str | None, said: str) -> None:
    """A text replaces the facts unchanged; a blank one is ignored."""
    card = Card(NOTIFICATIONS[0], None, text)
    assert card.body == said
    assert card.facts == ([] if said else card.all_facts)
    assert card.all_facts == list(FACTS.items())


@pytest.mark.parametrize("title", [None, "", " \n"])
def test_always_has_a_headline(title: str | None) -> None:
    """A title that shows nothing is none."""
    assert Card(NOTIFICATIONS[1], title).title(60) == "oomed ran out of memory (OOM)"


@pytest.mark.parametrize("title", ["a\nb", "\n a \r\n\n b \n", "a\u2028b"])
def test_a_title_is_one_line(title: str) -> None:
    """Its lines are joined, not cut off and not spelled."""
    assert Card(NOTIFICATIONS[0], title).title(60) == "a b"


def test_shows_the_route_and_the_event() -> None:
    """The notes lead back to the configuration and to the event."""
    assert Card(NOTIFICATIONS[0]).notes == ["route crashed", CRASH.id]


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (Origin.REPLAYED, "replayed from the engine's history"),
        (Origin.INFERRED, "found by comparing containers: the engine sent no event"),
    ],
)
def test_says_if_it_is_not_live(origin: Origin, said: str) -> None:
    """Somebody who reads a late or an inferred event is told so."""
    assert Card(build_notification("r", with_fields(CRASH, origin=origin))).notes[-1] == said


def test_says_what_was_held_back() -> None:
    """What noise control suppressed is counted."""
    assert Card(Notification("ntf_1", "r", (CRASH,), suppressed=7)).notes[-1] == "7 held back"


def test_says_what_is_missing() -> None:
    """A container that is gone leaves a word of that."""
    assert Card(CONTAINER_GONE).notes[-1] == "not included: the container is gone"
    late = Card(build_notification("crashed", CRASH, INCLUDE))
    assert late.notes[-1] == "not included: could not be had in time"


@pytest.mark.parametrize("nothing", [(), ("",), ("", " ")])
def test_shows_no_empty_block(nothing: tuple[str, ...]) -> None:
    """What was printed has a title only where there is something below it."""
    assert Card(crash_with_included(logs=nothing, health="a\nb")).output == [(HEALTH, "a\nb")]
    assert Card(crash_with_included(logs=(*nothing, "x"), health=" ")).output[0][0] == LOGS


def test_many_inspect_fields_share_the_space() -> None:
    """All of them are there, names and values cut."""
    shown = Card(MANY_FIELDS).fit_inspect_fields(1_000, 200)
    assert shown == [(f"{n:02}{'k' * 22}…", "v" * 24 + "…") for n in range(20)]


def test_a_few_inspect_fields_keep_the_limit_of_each() -> None:
    """What others do not need makes none longer; a short name leaves its room to the value."""
    card = Card(crash_with_included(inspect={"State.Error": "v" * 1024, "Path": " "}))
    assert card.fit_inspect_fields(1_000, 31) == [("State.Error", "v" * 19 + "…"), ("Path", BLANK)]
    assert Card(NOTIFICATIONS[0]).fit_inspect_fields(1_000, 31) == []


@given(cards())
def test_inspect_fields_keep_their_limits(card: Card) -> None:
    """Whatever comes: each field, and all of them; and none is blank."""
    shown = card.fit_inspect_fields(1_000, 100)
    sizes = [utf16_length(name) + utf16_length(value) for name, value in shown]
    assert all(name.strip() and value.strip() for name, value in shown)
    assert all(size <= 100 for size in sizes)
    assert sum(sizes) <= 1_000
