"""Titles and texts of the configuration."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given

from relay.config.templates.template import Template
from relay.core.notification import Notification, build_notification
from relay.destinations.catalog import parse_config
from relay.destinations.common.service import CustomText, ServiceDestination
from relay.destinations.slack import SlackDestination
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


def make_custom_text(failures: list[tuple[str, str]]) -> CustomText:
    config = parse_config(CONFIG, file="f", environ={}, folder=Path())
    to = config.destinations["ops"]
    assert isinstance(to, ServiceDestination)
    return CustomText(
        to.title, to.text, config.routes, lambda where, why: failures.append((where, why))
    )


def test_texts_of_a_route_override_the_destinations() -> None:
    """A route knows better what the notification is about."""
    card = make_custom_text([]).make_card(build_notification("own", OOM))
    assert (card.custom_title, card.custom_text) == ("oomed by the route", "a\nb")


def test_texts_of_a_destination_are_for_all_other_routes() -> None:
    """Routes that were removed from the configuration use them too."""
    labelled = msgspec.structs.replace(
        CRASH, actor=msgspec.structs.replace(CRASH.actor, attributes={"runbook": "see there"})
    )
    for route in ("plain", "gone"):
        card = make_custom_text([]).make_card(build_notification(route, labelled))
        assert card.custom_title == f"{CRASH.actor.name} at the destination"
        assert card.custom_text == "see there"


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
        assert words.make_card(build_notification("own", OOM)).custom_text == "a\nb"
    assert made == ["{{ event.name }} by the route", "a\nb"]


def test_without_custom_texts_the_card_is_relays_own() -> None:
    """The card has no custom texts."""
    failures: list[tuple[str, str]] = []
    plain = SlackDestination.model_validate({"url": "https://x"})
    card = CustomText(
        plain.title, plain.text, (), lambda where, why: failures.append((where, why))
    ).make_card(build_notification("r", OOM))
    assert (card.custom_title, card.custom_text, failures) == (None, None, [])


def test_a_failing_template_is_reported_and_replaced() -> None:
    """The notification is sent nevertheless."""
    failures: list[tuple[str, str]] = []
    card = make_custom_text(failures).make_card(build_notification("plain", OOM))
    assert card.custom_text is None
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
    card = CustomText(to.title, to.text, (), lambda where, why: None).make_card(notification)
    assert (card.custom_title or "").isprintable()
    assert (card.custom_text or "").isprintable()
