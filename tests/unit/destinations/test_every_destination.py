"""What holds for every type of destination and every format of ``http``."""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from relay.config import Destination
from relay.config.destinations import DESTINATION_TYPES
from relay.core.event import Actor
from relay.core.notification import Notification
from relay.core.text import ZERO_WIDTH_SPACE
from relay.destinations import pagerduty
from relay.destinations.catalog import Renderer, build_renderer
from tests.support.profiles import examples
from tests.unit.destinations.messages import strings
from tests.unit.destinations.samples import (
    ATTACKS,
    CRASH,
    RESOLVED,
    SAMPLE_NOTIFICATIONS,
    crash_with_included,
    longest_notification,
    notifications,
    with_fields,
)
from tests.unit.destinations.test_catalog import fail_on_template_error
from tests.unit.destinations.test_models import MINIMAL, config_with

SERVICES = [kind for kind in DESTINATION_TYPES if kind not in ("http", "console")]
PROGRAM_FORMATS = ["json", "cloudevents", "cloudevents-binary", "console"]
"""Those that get every text as it is: formats of ``http``, and what pipes the console."""
every_kind = pytest.mark.parametrize("kind", [*SERVICES, *PROGRAM_FORMATS])
every_service = pytest.mark.parametrize("kind", SERVICES)


def any_notification(test: Callable[..., None]) -> Callable[..., None]:
    """Of any notification, few of them: each format's own tests try more."""
    return settings(max_examples=examples(30))(given(notifications)(test))


@cache
def destination(kind: str, more: str = "") -> Destination:
    """One with the little that it needs, and ``more``."""
    if kind in DESTINATION_TYPES:
        entry = f"type: {kind}, {MINIMAL[kind]}"
    else:
        entry = f"type: http, {MINIMAL['http']}, format: {kind}"
    return config_with(f"{entry}{more}").destinations["to"]


@cache
def cached_renderer(kind: str, more: str = "", *, colour: bool = False) -> Renderer:
    """What the daemon renders with."""
    return build_renderer(
        destination(kind, more), (), colour=colour, on_template_error=fail_on_template_error
    )


def hostile_notification(attack: str) -> Notification:
    """A crash of which everything that others choose is an attack."""
    labels = {"com.docker.compose.project": attack, "com.docker.swarm.service.name": attack}
    event = with_fields(CRASH, host=attack, actor=Actor(attack, attack, attack, labels))
    made = crash_with_included(
        logs=(attack,), health=attack, inspect={attack: attack}, missing=attack
    )
    return msgspec.structs.replace(made, events=(event,))


NOTIFICATIONS = (
    *SAMPLE_NOTIFICATIONS,
    RESOLVED,
    *map(hostile_notification, ATTACKS),
    longest_notification('"<漢\n' * 5_000),
)
"""Ordinary and hostile ones."""


@every_kind
def test_goes_to_its_endpoint(kind: str) -> None:
    """Whatever is told of; only a terminal has no URL."""
    endpoint = getattr(destination(kind), "endpoint", "")
    assert bool(endpoint) == (kind != "console")
    for notification in NOTIFICATIONS:
        request = cached_renderer(kind)(notification)
        assert (request.method, request.url) == ("POST", endpoint)


HEADERS = {
    "console": {},
    "cloudevents": {"Content-Type": "application/cloudevents+json; charset=utf-8"},
    "gotify": {"Content-Type": "application/json", "X-Gotify-Key": "t0ken"},
}
"""Those that do not just say that the body is JSON."""


@every_kind
def test_no_header_is_somebody_elses(kind: str) -> None:
    """They are the same for all notifications but for the attributes of a CloudEvent, encoded."""
    for notification in NOTIFICATIONS:
        headers = dict(cached_renderer(kind)(notification).headers)
        assert all(re.fullmatch("[ -~]+", value) for value in headers.values())
        if kind == "cloudevents-binary":
            headers = {name: headers[name] for name in headers if not name.startswith("ce-")}
        assert headers == HEADERS.get(kind, {"Content-Type": "application/json"})


@every_kind
def test_the_same_is_rendered_alike(kind: str) -> None:
    """Byte for byte: what is sent again can be told to be the same."""
    first, second = (
        build_renderer(
            destination(kind), (), colour=False, on_template_error=fail_on_template_error
        )
        for _ in range(2)
    )
    for notification in NOTIFICATIONS:
        assert first(notification) == first(notification) == second(notification)


@every_kind
@any_notification
def test_is_one_json_value(kind: str, notification: Notification) -> None:
    """On a line of its own, so that what logs or pipes it needs no more than lines."""
    body = cached_renderer(kind)(notification).body
    json.loads(body)
    assert body.count(b"\n") == body.endswith(b"\n") == (kind == "console")


@pytest.mark.parametrize("kind", [*SERVICES, "cloudevents", "cloudevents-binary"])
@pytest.mark.parametrize("dear", ["x", '"', "漢", "🔥", "\u202e", "\n", "a\n", "@."])
def test_is_never_long(kind: str, dear: str) -> None:
    """All but the document of ``json``, which leaves nothing out, are bounded."""
    most = {"pagerduty": pagerduty.PAYLOAD_MAX // 2}.get(kind, 70_000)
    assert 500 < len(cached_renderer(kind)(longest_notification(dear * 20_000)).body) <= most


@every_service
@any_notification
def test_shows_no_control(kind: str, notification: Notification) -> None:
    """Every character prints but line breaks and the spaces without width that are relay's."""
    for text in strings(json.loads(cached_renderer(kind)(notification).body), names=True):
        assert text.replace("\n", "").replace(ZERO_WIDTH_SPACE, "").isprintable()


CODE = re.compile(r"^```\n.*?\n```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
TAGS = ("<!channel>", "<@U123>", "<http://evil.example|text>")
MARKDOWN = ("*bold*", "_it_", "~no~", "`code`", "```block```", ":rotating_light:")
DANGEROUS: dict[str, tuple[str, ...]] = {
    "slack": (*TAGS, "&lt;!here&gt;"),
    "discord": (*TAGS, *MARKDOWN),
    "teams": ATTACKS,
    "mattermost": ATTACKS,
    "rocketchat": ATTACKS,
    "googlechat": TAGS,
    "telegram": ATTACKS,
    "ntfy": ("://",),
    "gotify": ("://",),
    "pagerduty": TAGS,
    "alertmanager": TAGS,
}
"""What each would make something of in the texts that it reads, or those it sends them on to."""


def interpreted_texts(kind: str, sent: Any) -> Iterator[str]:
    """The texts in which a service looks for mentions, links and markup."""
    match kind:
        case "slack":
            yield from strings(without_objects("rich_text", sent))
        case "teams":
            yield from strings(without_objects("TextRun", sent))
        case "discord":
            embed = sent["embeds"][0]
            del embed["footer"]
            yield from (re.sub(r"```\n.*?\n```", "", it, flags=re.S) for it in strings(embed))
        case "mattermost" | "rocketchat":
            sent["attachments"][0].pop("fallback", None)
            yield from (CODE.sub("", it) for it in strings(sent))
        case "telegram":
            text = sent["text"].encode("utf-16-le")
            for entity in reversed(sent["entities"]):
                start, end = entity["offset"], entity["offset"] + entity["length"]
                text = text[: 2 * start] + text[2 * end :]
            yield text.decode("utf-16-le")
        case "ntfy" | "gotify":
            yield sent["message"]
        case "pagerduty":
            del sent["payload"]["custom_details"]
            yield from strings(sent)
        case _:
            yield from strings(sent)


def without_objects(kind: str, value: Any) -> Any:
    """A JSON value without its objects of a ``type``."""
    match value:
        case list():
            return [without_objects(kind, it) for it in value]
        case dict() if value.get("type") == kind:
            return None
        case dict():
            return {name: without_objects(kind, it) for name, it in value.items()}
    return value


CUSTOM_TEXTS = ", title: '{{ event.name }}', text: '{{ event.image }}'"


@every_service
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("words", ["", CUSTOM_TEXTS], ids=["", "worded"])
def test_nothing_hostile_is_read(kind: str, attack: str, words: str) -> None:
    """No mention, no link, no markup is made of it, be it in a template's words."""
    sent = json.loads(cached_renderer(kind, words)(hostile_notification(attack)).body)
    texts = list(interpreted_texts(kind, sent))
    assert texts
    assert not [(form, text) for form in DANGEROUS[kind] for text in texts if form in text]
