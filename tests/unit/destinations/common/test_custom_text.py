"""Titles and texts of the configuration."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given

from relay.config.templates.template import Template
from relay.core.event import Event
from relay.core.notification import Notification, build_notification
from relay.core.zone import UTC_ZONE
from relay.destinations.catalog import parse_config
from relay.destinations.common.pieces import Piece, PieceKind, Pieces, join
from relay.destinations.common.service import CustomText, ServiceDestination
from relay.destinations.slack import SlackDestination
from tests.unit.destinations.samples import CRASH, OOM, own
from tests.unit.destinations.strategies import notifications

CONFIG = """
destinations:
  ops:
    type: slack
    url: https://hooks.example/x
    title: "{{ event.name }} at the destination"
    text: "{{ event.labels.runbook }}"
routes:
  - {name: plain, to: ops}
  - {name: own, to: ops, title: "{{ event.name }} by the route", text: "a\\nb"}
"""


def make_custom_text(failures: list[tuple[str, str]]) -> CustomText:
    config = parse_config(CONFIG, file="f", environ={}, folder=Path())
    to = config.destinations["ops"]
    assert isinstance(to, ServiceDestination)
    return CustomText(
        to, config.routes, lambda where, why: failures.append((where, why)), zone=UTC_ZONE
    )


def test_texts_of_a_route_override_the_destinations() -> None:
    """A route knows better what the notification is about."""
    card = make_custom_text([]).make_card(build_notification("own", OOM))
    assert (join(card.custom_title), join(card.custom_text)) == ("oomed by the route", "a\nb")


def test_texts_of_a_destination_are_for_all_other_routes() -> None:
    """Routes that were removed from the configuration use them too."""
    labelled = msgspec.structs.replace(
        CRASH, actor=msgspec.structs.replace(CRASH.actor, attributes={"runbook": "see there"})
    )
    for route in ("plain", "gone"):
        card = make_custom_text([]).make_card(build_notification(route, labelled))
        assert join(card.custom_title) == f"{CRASH.actor.name} at the destination"
        assert join(card.custom_text) == "see there"


def test_templates_are_compiled_when_they_are_first_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every destination has as many as there are routes, and no reload waits for them."""
    made: list[str] = []

    def template(source: str) -> Template:
        made.append(source)
        return Template(source)

    monkeypatch.setattr("relay.destinations.common.service.Template", template)
    words = make_custom_text([])
    assert made == []
    for _ in range(2):
        assert words.make_card(build_notification("own", OOM)).body == own("a\nb")
    assert made == ["{{ event.name }} by the route", "a\nb"]


def test_without_custom_texts_the_card_is_relays_own() -> None:
    """The card has no custom texts."""
    failures: list[tuple[str, str]] = []
    plain = SlackDestination.model_validate({"url": "https://x"})
    made = CustomText(plain, (), lambda where, why: failures.append((where, why)), zone=UTC_ZONE)
    card = made.make_card(build_notification("r", OOM))
    assert (card.custom_title, card.custom_text, failures) == ((), (), [])


def test_a_failing_template_is_reported_and_replaced() -> None:
    """The notification is sent nevertheless."""
    failures: list[tuple[str, str]] = []
    card = make_custom_text(failures).make_card(build_notification("plain", OOM))
    assert card.custom_text == ()
    assert card.facts
    assert failures == [("text", "there is no 'runbook'")]


ALL = (
    "{{ headline }}{{ event.name }}{{ event.labels | tojson }}{{ event.labels | join }}"
    "{% for k, v in event.labels.items() %}{{ k }}{{ v }}{% endfor %}"
    "{{ included.health }}{{ included.logs | join }}{{ included.inspect | tojson }}"
    "{{ included.inspect | join }}{{ included.inspect | dictsort | map('first') | join }}"
    "{{ included.missing }}"
)


@given(notifications)
def test_no_value_starts_a_line(notification: Notification) -> None:
    """A line break or an unprintable character from others is escaped."""
    to = SlackDestination.model_validate({"url": "https://x", "title": ALL, "text": ALL})
    card = CustomText(to, (), lambda where, why: None, zone=UTC_ZONE).make_card(notification)
    assert join(card.custom_title).isprintable()
    assert join(card.custom_text).isprintable()


def render_text(source: str, event: Event = CRASH) -> Pieces:
    """The pieces of a ``text``."""
    to = SlackDestination.model_validate({"url": "https://x", "text": source})
    made = CustomText(to, (), lambda where, why: None, zone=UTC_ZONE)
    return made.make_card(build_notification("r", event)).custom_text


def test_knows_what_is_filled_in() -> None:
    """The author's words and links stay apart from values."""
    assert render_text("see https://wiki.example/{{ event.name }}, by {{ event.host }}") == (
        Piece(PieceKind.OWN, "see "),
        Piece(PieceKind.LINK, "https://wiki.example/shop-web-1"),
        Piece(PieceKind.OWN, ", by "),
        Piece(PieceKind.FILLED, "node-1"),
    )


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'https://wiki.example' }}",
        "{% set x %}https://wiki.example{% endset %}{{ x }}",
        "{% macro m() %}https://wiki.example{% endmacro %}{{ m() }}",
        "{% filter lower %}https://wiki.example{% endfilter %}",
        "{{ 'https:' ~ '//wiki.example' }}",
    ],
)
def test_what_an_expression_writes_is_filled_in(source: str) -> None:
    """Only what stands outside of all expressions is known to depend on no value."""
    assert render_text(source) == (Piece(PieceKind.FILLED, "https://wiki.example"),)


def test_words_in_a_loop_and_in_a_branch_are_the_authors() -> None:
    """A value may decide whether they are written, not what they are."""
    source = "{% for k in [1, 2] %}https://wiki.example {% endfor %}{% if event %}x{% endif %}"
    link = Piece(PieceKind.LINK, "https://wiki.example")
    space = Piece(PieceKind.OWN, " ")
    assert render_text(source) == (link, space, link, Piece(PieceKind.OWN, " x"))


def test_times_are_for_people() -> None:
    """In a title and in a text a time has no fractions of a second."""
    assert join(render_text("{{ event.time }}")) == "2026-11-23T07:29:49Z"
