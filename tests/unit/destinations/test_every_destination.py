"""Rules for every type of destination and every format of ``http``."""

import json
import re
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings

from relay.config import DestinationConfig, Renderer
from relay.core.incident import Audience
from relay.core.notification import Notification
from relay.core.text import ZERO_WIDTH_SPACE
from relay.core.zone import UTC_ZONE
from relay.destinations.alertmanager import AlertmanagerDestination
from relay.destinations.catalog import DESTINATION_TYPES
from relay.destinations.common.card import Card
from tests.support.profiles import examples
from tests.unit.destinations.configs import config_with
from tests.unit.destinations.contract import contracts
from tests.unit.destinations.messages import format_golden, read_golden, strings
from tests.unit.destinations.samples import (
    ATTACKS,
    RESOLVED,
    SAMPLE_NOTIFICATIONS,
    hostile_notification,
    longest_notification,
)
from tests.unit.destinations.strategies import for_people
from tests.unit.destinations.test_catalog import fail_on_template_error
from tests.unit.destinations.test_models import MINIMAL
from tests.unit.destinations.updates import (
    ALL_UPDATES,
    FOR_PEOPLE,
    longest_update,
    with_hostile_names,
)

SERVICES = list(contracts())
CHATS_AND_PHONES = [
    name for name in SERVICES if DESTINATION_TYPES.models[name].audience is Audience.PEOPLE
]
PROGRAM_FORMATS = ["json", "cloudevents", "cloudevents-binary", "console"]
"""The formats for programs, which get every text unchanged: those of ``http``, and the console
without a terminal."""
KINDS = [*SERVICES, *PROGRAM_FORMATS]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_service = pytest.mark.parametrize("kind", SERVICES)


def any_notification(test: Callable[[Notification], None]) -> Callable[..., None]:
    """Run a test of all formats with a few notifications; the tests of each format try more."""
    return settings(max_examples=examples(40))(given(for_people)(test))


@cache
def destination(kind: str, more: str = "") -> DestinationConfig:
    """A destination with its minimal keys and ``more``."""
    if kind in DESTINATION_TYPES.models:
        entry = f"type: {kind}, {MINIMAL[kind]}"
    else:
        entry = f"type: http, {MINIMAL['http']}, format: {kind}"
    return config_with(f"{entry}{more}").destinations["to"]


@cache
def cached_renderer(kind: str, more: str = "", *, colour: bool = False) -> Renderer:
    """The renderer that the daemon uses, built once for all tests."""
    return destination(kind, more).build_renderer(
        (), fail_on_template_error, colour=colour, zone=UTC_ZONE
    )


NOTIFICATIONS = (
    *SAMPLE_NOTIFICATIONS,
    RESOLVED,
    *map(hostile_notification, ATTACKS),
    longest_notification('"<漢\n' * 5_000),
    longest_update('"<漢\n' * 5_000, incidents=30),
    *ALL_UPDATES,
    *FOR_PEOPLE.values(),
)
"""Ordinary and hostile notifications."""


@every_kind
def test_goes_to_its_endpoint(kind: str) -> None:
    """Every request goes to the endpoint or below it; only the console has no URL."""
    endpoint = destination(kind).endpoint
    assert bool(endpoint) == (kind != "console")
    contract = contracts().get(kind)
    for notification in NOTIFICATIONS:
        request = cached_renderer(kind)(notification)
        assert request.method == (contract.method if contract else "POST")
        assert re.fullmatch(re.escape(endpoint) + (contract.path if contract else ""), request.url)


@every_service
def test_matches_the_golden_file(kind: str) -> None:
    """The messages about the samples are those in the golden file of the service."""
    contract = contracts()[kind]
    bodies = (contract.sample.render(card).body for card in contract.golden)
    assert format_golden(bodies) == read_golden(f"{kind}.json")


@pytest.mark.parametrize("kind", CHATS_AND_PHONES)
def test_updates_match_the_golden_file(kind: str) -> None:
    """So do those about incidents and plain events, by what they are about."""
    render = contracts()[kind].sample.render
    shown = [
        b'{"what": %s, "sent": %s}' % (json.dumps(what).encode(), render(Card(update)).body)
        for what, update in FOR_PEOPLE.items()
    ]
    assert format_golden(shown) == read_golden(f"{kind}_incidents.json")


JSON = {"Content-Type": "application/json"}
HEADERS = {
    **{name: {**JSON, **contract.headers} for name, contract in contracts().items()},
    "console": {},
    "cloudevents": {"Content-Type": "application/cloudevents+json; charset=utf-8"},
}
"""The headers of all types that do not only declare a JSON body."""


@every_kind
def test_no_foreign_text_is_in_a_header(kind: str) -> None:
    """Headers are the same for all notifications, except the encoded attributes of a CloudEvent."""
    for notification in NOTIFICATIONS:
        headers = dict(cached_renderer(kind)(notification).headers)
        assert all(re.fullmatch("[ -~]+", value) for value in headers.values())
        if kind == "cloudevents-binary":
            headers = {name: headers[name] for name in headers if not name.startswith("ce-")}
        assert headers == HEADERS.get(kind, JSON)


@every_kind
def test_rendering_is_deterministic(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same notification gives the same bytes at the same time, so a receiver recognises a
    repetition."""
    monkeypatch.setattr(AlertmanagerDestination, "clock", lambda: 2**62)
    first, second = (
        destination(kind).build_renderer((), fail_on_template_error, colour=False, zone=UTC_ZONE)
        for _ in range(2)
    )
    for notification in NOTIFICATIONS:
        assert first(notification) == first(notification) == second(notification)


@any_notification
def test_is_one_json_value(notification: Notification) -> None:
    """The body is one line, so that logs and pipes can split it by lines."""
    for kind in KINDS:
        body = cached_renderer(kind)(notification).body
        json.loads(body)
        assert body.count(b"\n") == body.endswith(b"\n") == (kind == "console"), kind


@pytest.mark.parametrize("kind", [*SERVICES, "cloudevents", "cloudevents-binary"])
@pytest.mark.parametrize("dear", ["x", '"', "漢", "🔥", "\u202e", "\n", "a\n", "@."])
def test_is_bounded(kind: str, dear: str) -> None:
    """Every format is bounded, except ``json``, which leaves nothing out."""
    most = contracts()[kind].max_bytes if kind in contracts() else 70_000
    filler = dear * 5_000
    for notification in (
        longest_notification(filler),
        longest_update(filler),
        longest_update(filler, incidents=30),
    ):
        assert 500 < len(cached_renderer(kind)(notification).body) <= most


@any_notification
def test_shows_no_control(notification: Notification) -> None:
    """Every character is printable, except line breaks and relay's zero-width spaces."""
    for kind in SERVICES:
        for text in strings(json.loads(cached_renderer(kind)(notification).body), names=True):
            assert text.replace("\n", "").replace(ZERO_WIDTH_SPACE, "").isprintable(), kind


CUSTOM_TEXTS = ", title: '{{ event.name }}', text: '{{ event.image }}'"


@every_service
@pytest.mark.parametrize("keys", ["", CUSTOM_TEXTS], ids=["", "custom-texts"])
def test_no_hostile_text_is_interpreted(kind: str, keys: str) -> None:
    """No text becomes a mention, a link or markup, even if a template inserts it."""
    dangerous = contracts()[kind].dangerous
    for notification in (
        *map(hostile_notification, ATTACKS),
        *(with_hostile_names(FOR_PEOPLE["opened"], attack) for attack in ATTACKS),
        *(with_hostile_names(FOR_PEOPLE["hostile names"], attack) for attack in ATTACKS),
    ):
        sent = json.loads(cached_renderer(kind, keys)(notification).body)
        texts = list(contracts()[kind].interpreted(sent))
        assert texts
        assert not [(form, text) for form in dangerous for text in texts if form in text]
