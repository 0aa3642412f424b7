"""The ``link`` of the configuration, in every service."""

import html
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest

from relay.config import Renderer
from relay.core.notification import Notification, build_notification
from relay.core.zone import UTC_ZONE
from relay.destinations.catalog import DESTINATION_TYPES
from relay.destinations.common.service import MessageDestination
from tests.unit.destinations.contract import contracts
from tests.unit.destinations.messages import strings
from tests.unit.destinations.samples import ATTACKS, NOTIFICATIONS, crash_of, longest_notification
from tests.unit.destinations.test_catalog import fail_on_template_error
from tests.unit.destinations.test_every_destination import destination, every_service
from tests.unit.destinations.test_hostile_texts import Texts, assert_bounded
from tests.unit.destinations.updates import ALL_UPDATES, CRASH_LOOPING, longest_update

SITE = "https://wiki.example.com/run/"
LABEL = "Open wiki.example.com"
TEMPLATE = f"{SITE}{{{{ event.name }}}}?id={{{{ incident.id if incident else event.id }}}}"


@cache
def renderer(kind: str, link: str = TEMPLATE, name: str = "crashed") -> Renderer:
    """The renderer of a destination whose route has a link."""
    route = Texts(link=link, name=name)
    return destination(kind).build_renderer(
        [route], fail_on_template_error, colour=False, zone=UTC_ZONE
    )


def send(kind: str, notification: Notification, link: str = TEMPLATE) -> Any:
    """The message as JSON."""
    return json.loads(renderer(kind, link, notification.route)(notification).body)


WHERE: Mapping[str, Callable[[Any], str]] = {
    "slack": lambda sent: next(
        element
        for block in sent["attachments"][0]["blocks"]
        if block["type"] == "rich_text"
        for section in block["elements"]
        for element in section["elements"]
        if element["type"] == "link"
    )["url"],
    "discord": lambda sent: sent["embeds"][0]["description"].split("(<")[-1].removesuffix(">)**"),
    "teams": lambda sent: sent["attachments"][0]["content"]["actions"][0]["url"],
    "telegram": lambda sent: sent["reply_markup"]["inline_keyboard"][0][0]["url"],
    "mattermost": lambda sent: sent["attachments"][1]["text"].split(f"[{LABEL}](")[1].split(")")[0],
    "rocketchat": lambda sent: sent["attachments"][1]["text"].split(f"[{LABEL}](")[1].split(")")[0],
    "googlechat": lambda sent: next(
        widget["buttonList"]["buttons"][0]["onClick"]["openLink"]["url"]
        for section in sent["cardsV2"][0]["card"]["sections"]
        for widget in section["widgets"]
        if "buttonList" in widget
    ),
    "matrix": lambda sent: html.unescape(
        sent["formatted_body"].split('<p><a href="')[1].split('"')[0]
    ),
    "ntfy": lambda sent: sent["actions"][0]["url"],
    "gotify": lambda sent: sent["extras"]["client::notification"]["click"]["url"],
    "pushover": lambda sent: sent["url"],
    "pagerduty": lambda sent: sent["links"][0]["href"],
    "alertmanager": lambda sent: sent[0]["generatorURL"],
}
"""Where each service finds the link."""


def test_every_service_has_a_place_for_it() -> None:
    """A new service says where its link is."""
    assert WHERE.keys() == contracts().keys()


@every_service
def test_a_name_does_not_change_where_it_leads(kind: str) -> None:
    """Only the last folder of the path is the name, percent-encoded; a longer link is left out."""
    attacks = [attack for attack in ATTACKS if len(attack) <= 100]
    for attack in (*attacks, "../..", "//evil.example", "@evil.example"):
        notification = build_notification("crashed", crash_of(attack))
        link = WHERE[kind](send(kind, notification))
        folder, _, query = link.removeprefix(SITE).partition("?")
        assert link.startswith(SITE)
        assert query == f"id={notification.events[0].id}"
        assert "/" not in folder
        assert all(character.isalnum() or character in "%-._~" for character in folder)


@every_service
def test_of_an_incident(kind: str) -> None:
    """The link can name the incident."""
    assert CRASH_LOOPING.update is not None
    name, id_ = "shop-web-1", CRASH_LOOPING.update.incidents[0].id
    assert WHERE[kind](send(kind, CRASH_LOOPING)) == f"{SITE}{name}?id={id_}"


@every_service
def test_without_a_link_nothing_changes(kind: str) -> None:
    """A template that renders nothing makes no link, and no note."""
    plain = destination(kind).build_renderer(
        (), fail_on_template_error, colour=False, zone=UTC_ZONE
    )
    if kind == "alertmanager":  # its alerts have the time at which they are sent
        return
    for notification in (*NOTIFICATIONS, *ALL_UPDATES):
        made = renderer(kind, "{% if 0 %}https://x.example{% endif %}", notification.route)
        assert made(notification).body == plain(notification).body


@every_service
def test_one_that_is_too_long_is_left_out_with_a_note(kind: str) -> None:
    """The rest of the message is sent, and the failure is reported."""
    failures: list[tuple[str, str]] = []
    route = Texts(link=TEMPLATE)
    made = destination(kind).build_renderer(
        [route], lambda key, why: failures.append((key, why)), colour=False, zone=UTC_ZONE
    )
    body = made(build_notification("crashed", crash_of("x" * 5_000))).body
    ((key, why),) = failures
    model = DESTINATION_TYPES.models[kind]
    assert issubclass(model, MessageDestination)
    assert (key, why) == ("link", f"is longer than {model.link_max:,} characters")
    assert SITE not in body.decode()
    # PagerDuty and Alertmanager have no small print: there it has a name of its own
    note = f"it {why}" if kind in ("pagerduty", "alertmanager") else f"no link: it {why}"
    assert any(note in text for text in strings(json.loads(body)))


@every_service
@pytest.mark.parametrize("host", ["a" * 60, "a" * 55 + ".example"], ids=["grafana", "example"])
def test_the_longest_message_with_the_longest_link_is_bounded(kind: str, host: str) -> None:
    """Beside it everything else has less room."""
    model = DESTINATION_TYPES.models[kind]
    assert issubclass(model, MessageDestination)
    link = f"https://{host}/"
    link += "x" * (model.link_max - len(link))
    for filler in ("x", '"', "漢", "\n", "&", "`", ".", "🔥"):
        text = filler * 5_000
        for notification in (longest_notification(text), longest_update(text, incidents=30)):
            body = renderer(kind, link, notification.route)(notification).body
            assert link.encode() in body
            assert_bounded(kind, body)


def test_telegram_makes_no_button_of_a_host_without_a_dot() -> None:
    """It would refuse the whole message: the link is code, which can be copied."""
    for site in ("http://grafana:3000/d/1", "http://[fd00::1]/d/1"):
        sent = send("telegram", NOTIFICATIONS[0], site)
        assert "reply_markup" not in sent
        text = sent["text"].encode("utf-16-le")
        codes = [
            text[it["offset"] * 2 : (it["offset"] + it["length"]) * 2].decode("utf-16-le")
            for it in sent["entities"]
            if it["type"] == "code"
        ]
        assert site in codes
