"""What every format shows of invisible characters, of links and of images."""

import html
import json
import re
from dataclasses import dataclass
from functools import cache

import msgspec
import pytest

from relay.config import Renderer
from relay.core.event import Actor
from relay.core.notification import build_notification
from relay.core.text import ZERO_WIDTH_SPACE, utf16_length
from relay.core.zone import UTC_ZONE
from relay.destinations import (
    discord,
    googlechat,
    matrix,
    mattermost,
    ntfy,
    pushover,
    rocketchat,
    slack,
    teams,
    telegram,
)
from tests.unit.destinations.contract import contracts
from tests.unit.destinations.messages import strings
from tests.unit.destinations.samples import (
    ATTACKS,
    CRASH,
    crash_of,
    hostile_notification,
    longest_notification,
    with_fields,
)
from tests.unit.destinations.test_catalog import fail_on_template_error
from tests.unit.destinations.test_every_destination import (
    CUSTOM_TEXTS,
    cached_renderer,
    destination,
    every_kind,
    every_service,
)
from tests.unit.destinations.updates import longest_update

INVISIBLE = (
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    *(0x200B, 0xFEFF, 0x2028, 0x2029, 0x061C, 0x00AD),
    *(0x034F, 0x115F, 0x3164, 0xFFA0, 0x2800, 0xE0100, 0x7F, 0x85, 0x1B),
)
"""Bidirectional, zero-width and line-breaking characters, letters that show nothing, controls."""

TEXT = (
    "{{ event.name }} runbook: https://wiki.example.com/run_book/{{ event.labels.page }}, "
    "see {{ event.name }}.\n*at once*"
)


@dataclass(frozen=True)
class Texts:
    """What a route says of its messages."""

    title: str | None = None
    text: str | None = None
    link: str | None = None
    name: str = "crashed"


SITE = "https://wiki.example.com/run_book/"
LINK = f"{SITE}shop-web-1"


@cache
def renderer(kind: str) -> Renderer:
    """The renderer of a destination whose route has a title and a text with the same link."""
    texts = Texts(TEXT.replace("\n", " "), TEXT)
    return destination(kind).build_renderer(
        [texts], fail_on_template_error, colour=False, zone=UTC_ZONE
    )


def message_about(kind: str, name: str, page: str = "shop-web-1") -> object:
    """The message about the crash of a container with this name and this label."""
    event = with_fields(CRASH, actor=Actor("a", name, name, {"page": page}))
    return json.loads(renderer(kind)(build_notification("crashed", event)).body)


def shown(message: object) -> list[str]:
    """The texts of a message as people see them."""
    return [html.unescape(text) for text in strings(message)]


@every_kind
def test_what_does_not_show_is_shown_as_a_mark(kind: str) -> None:
    r"""No such character is in the bytes of a message. There is a mark like ``\u202e``."""
    render = cached_renderer(kind, colour=True)
    allowed = ZERO_WIDTH_SPACE + "\x1b\n" * (kind == "console")
    for code in INVISIBLE:
        body = render(hostile_notification(f"a{chr(code)}b")).body.decode()
        assert not [it for it in body if ord(it) in INVISIBLE and it not in allowed]
        if kind != "cloudevents-binary" or code != 0x200B:
            mark = chr(code).encode("unicode_escape").decode()
            pair = json.dumps(chr(code))[1:-1]
            assert re.search(rf"a\\+({re.escape(mark[1:])}|{re.escape(pair[1:])})b", body)


@every_service
def test_a_link_of_a_template_arrives_whole(kind: str) -> None:
    """It leads to the page that the label names, in the text at least."""
    texts = shown(message_about(kind, "web"))
    assert any(LINK in text for text in texts)


@every_service
def test_what_is_filled_in_stays_harmless(kind: str) -> None:
    """Beside a link and within it."""
    contract = contracts()[kind]
    for message in (
        *(message_about(kind, attack) for attack in ATTACKS),
        *(message_about(kind, "web", attack) for attack in ATTACKS),
    ):
        interpreted = "\n".join(contract.interpreted(message)).replace(SITE, "")
        for danger in contract.dangerous:
            assert danger not in interpreted


@every_service
def test_an_address_that_is_filled_in_is_no_link(kind: str) -> None:
    """Not even one whose scheme the author wrote."""
    route = Texts(None, "https://{{ event.name }}/x and {{ event.name }}")
    made = destination(kind).build_renderer(
        [route], fail_on_template_error, colour=False, zone=UTC_ZONE
    )
    event = crash_of("evil.example")
    message = json.loads(made(build_notification("crashed", event)).body)
    # in a card of Google Chat only an ``a`` is a link
    link = 'href="' if kind == "googlechat" else "https://evil.example"
    assert not [text for text in contracts()[kind].interpreted(message) if link in text]


@every_service
def test_an_image_can_be_copied(kind: str) -> None:
    """Nothing invisible is in it. Discord shows no backslash before punctuation."""
    image = "registry.example.com:5000/shop/web:1.2.3"
    actor = msgspec.structs.replace(CRASH.actor, image=image)
    notification = build_notification("crashed", with_fields(CRASH, actor=actor))
    message = json.loads(cached_renderer(kind)(notification).body)
    assert any(image in text.replace("\\", "") for text in shown(message))


MOST_BYTES = {
    "googlechat": googlechat.MESSAGE_MAX,
    "matrix": matrix.CONTENT_MAX,
    "ntfy": ntfy.MESSAGE_MAX,
    "teams": teams.MESSAGE_MAX,
}
LONGEST_TEXT = {
    "discord": discord.DESCRIPTION_MAX,
    "mattermost": mattermost.TEXT_MAX,
    "pushover": pushover.MESSAGE_MAX,
    "rocketchat": rocketchat.TEXT_MAX,
    "slack": slack.ELEMENT_MAX,
    "telegram": telegram.TEXT_MAX,
}
ALL_TEXTS = {"discord": discord.TOTAL_MAX, "slack": 12_000}


@every_service
@pytest.mark.parametrize("filler", ["x", '"', "漢", "\n", "&", "`", ".", "\u202e", "🔥"])
def test_an_update_is_bounded(kind: str, filler: str) -> None:
    """However many incidents it is about, and however long their names are."""
    for incidents in (1, 2, 30):
        notification = longest_update(filler * 5_000, incidents=incidents)
        for keys in ("", CUSTOM_TEXTS):
            assert_bounded(kind, cached_renderer(kind, keys)(notification).body)


@every_service
def test_a_text_of_many_pieces_is_bounded(kind: str) -> None:
    """The markup around each piece is within the limits of the service too."""
    text = "{% for line in included.logs %}{{ line }}{{ '\\n' }}https://wiki.example/{% endfor %}"
    made = destination(kind).build_renderer(
        [Texts(text, text)], fail_on_template_error, colour=False, zone=UTC_ZONE
    )
    for filler in ("x", '"', "漢", "\n", "&", "`"):
        notification = longest_notification(filler * 5_000)
        logs = ["b\nc"] * 20 + [filler * 5_000]
        assert notification.included is not None
        included = msgspec.structs.replace(notification.included, logs=tuple(logs))
        notification = msgspec.structs.replace(notification, route="crashed", included=included)
        assert_bounded(kind, made(notification).body)


def assert_bounded(kind: str, body: bytes) -> None:
    """The limits of the service are kept."""
    assert len(body) <= MOST_BYTES.get(kind, contracts()[kind].max_bytes)
    message = json.loads(body)
    longest, most = LONGEST_TEXT.get(kind, len(body)), ALL_TEXTS.get(kind, len(body))
    assert max(map(utf16_length, strings(message))) <= longest
    assert sum(map(utf16_length, strings(message))) <= most
    assert kind != "telegram" or len(message["entities"]) <= telegram.ENTITIES_MAX
