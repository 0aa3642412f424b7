"""Titles and texts of the configuration."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given

from relay.config import SlackDestination, Vendor, parse
from relay.config.templates.template import Template
from relay.core.notification import Notification, notify
from relay.destinations.common.custom_text import Wording
from tests.unit.destinations.samples import CRASH, OOM, notifications

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


def wording(failures: list[tuple[str, str]]) -> Wording:
    config = parse(CONFIG, file="f", environ={}, folder=Path())
    to = config.destinations["ops"]
    assert isinstance(to, Vendor)
    return Wording(to, config.routes, lambda where, why: failures.append((where, why)))


def test_a_routes_words_come_before_the_destinations() -> None:
    """It knows better what it is about."""
    card = wording([]).card(notify("own", OOM))
    assert (card.given_title, card.text) == ("oomed by the route", "a\nb")


def test_a_destinations_words_are_for_all_other_routes() -> None:
    """Those that have gone from the configuration, too."""
    labelled = msgspec.structs.replace(
        CRASH, actor=msgspec.structs.replace(CRASH.actor, attributes={"runbook": "see there"})
    )
    for route in ("plain", "gone"):
        card = wording([]).card(notify(route, labelled))
        assert card.given_title == f"{CRASH.actor.name} at the destination"
        assert card.text == "see there"


def test_no_words_are_compiled_before_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """There can be as many as routes for every destination, and a reload waits for none."""
    made: list[str] = []

    def template(source: str) -> Template:
        made.append(source)
        return Template(source)

    monkeypatch.setattr("relay.destinations.common.custom_text.Template", template)
    words = wording([])
    assert made == []
    for _ in range(2):
        assert words.card(notify("own", OOM)).text == "a\nb"
    assert made == ["{{ event.name }} by the route", "a\nb"]


def test_without_words_it_is_relays_own() -> None:
    """Nothing is given."""
    failures: list[tuple[str, str]] = []
    plain = SlackDestination.model_validate({"url": "https://x"})
    card = Wording(plain, (), lambda where, why: failures.append((where, why))).card(
        notify("r", OOM)
    )
    assert (card.given_title, card.text, failures) == (None, None, [])


def test_what_fails_is_told_and_replaced_by_relays_own() -> None:
    """The notification goes out all the same."""
    failures: list[tuple[str, str]] = []
    card = wording(failures).card(notify("plain", OOM))
    assert card.text is None
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
def test_no_value_makes_a_line_of_its_own(notification: Notification) -> None:
    """A line break in what others chose is shown, not obeyed; so is all that does not print."""
    to = SlackDestination.model_validate({"url": "https://x", "title": ALL, "text": ALL})
    card = Wording(to, (), lambda where, why: None).card(notification)
    assert (card.given_title or "").isprintable()
    assert (card.text or "").isprintable()
