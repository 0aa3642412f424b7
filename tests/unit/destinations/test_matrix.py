"""Matrix messages."""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given

from relay.config import Rate
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Retry
from relay.core.notification import build_notification
from relay.core.text import ZERO_WIDTH_SPACE
from relay.delivery.rate_limit import RateLimiters
from relay.destinations import matrix
from relay.destinations.common.card import Card
from relay.destinations.matrix import MatrixDestination
from tests.unit.destinations.answers import classify_response
from tests.unit.destinations.common.test_plain_text import LINK
from tests.unit.destinations.configs import config_with, problems
from tests.unit.destinations.contract import EMOJI, WORDS, Contract
from tests.unit.destinations.samples import (
    ALL_INCLUDED,
    ATTACKS,
    CONTAINER_GONE,
    CRASH,
    CUSTOM_CARD,
    NOTIFICATIONS,
    OOM,
    RESOLVED,
    RUNBOOK,
    SAMPLE_CARDS,
)
from tests.unit.destinations.strategies import cards
from tests.unit.destinations.updates import longest_cards

ROOM = "!abc:matrix.example"
KEYS = f"url: https://matrix.example, access_token: t0ken, room_id: '{ROOM}'"
CODE = re.compile(r"<code>([^<>]*)</code>")
OURS = re.compile(
    r"[🔴🟠🔵🟢]|<p>|</p>|<br>|<strong>|</strong>|<pre>|</pre>|[ ·:]"
    r"|Host|Image|Compose service|Swarm service|Exit code|Cause|Time"
    r"|Last log lines|Last health check"
)
MENTIONS = (
    "@room",
    "@alice:evil.example",
    "#ops:evil.example",
    "</code><a href='https://matrix.to/#/@alice:evil.example'>x</a>",
    "<img src='mxc://evil.example/x'>",
    "&lt;b&gt;",
    "https://matrix.to/#/@alice:evil.example",
)
any_card = given(cards(*MENTIONS))


def interpreted(sent: Any) -> Iterator[str]:
    """Yield the HTML outside of code, and the plain text, in which simple clients find links."""
    yield CODE.sub("", sent["formatted_body"])
    yield sent["body"].replace("<", "‹")


def destination(**keys: object) -> MatrixDestination:
    """A destination for `ROOM`; ``keys`` override its keys."""
    entry = {"url": "https://matrix.example", "access_token": "t0ken", "room_id": ROOM, **keys}
    return MatrixDestination.model_validate(entry)


CONTRACT = Contract(
    keys=KEYS,
    endpoint="https://matrix.example",
    sample=destination(),
    golden=(*SAMPLE_CARDS, CUSTOM_CARD),
    method="PUT",
    path="/_matrix/client/v3/rooms/%21abc%3Amatrix.example/send/m.room.message/relay-[0-9a-f]{32}",
    rate=Rate(10, 50.0),
    secrets={"access_token": "canary"},
    headers={"Authorization": "Bearer t0ken"},
    dangerous=("<!channel>", "<@U123>", "<http", "://"),
    interpreted=interpreted,
    severity=lambda sent: sent["body"][0],
    shown=EMOJI,
    canary={"url": "{at}", "access_token": "{canary}-token", "room_id": ROOM},
)


def message(card: Card) -> Any:
    """The content of the event as a server reads it."""
    return json.loads(destination().render(card).body)


class Reader(HTMLParser):
    """Reads HTML as a client does: its tags, its attributes, and the text in its code."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[object] = []
        self.code = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "code" in self.open:
            self.code += data


def test_a_notification_has_one_transaction() -> None:
    """The URL is the same whenever a notification is sent, and differs for any other."""
    url = destination().render(Card(NOTIFICATIONS[0])).url
    assert destination(access_token="renewed").render(Card(NOTIFICATIONS[0])).url == url
    assert destination().render(Card(build_notification("crashed", CRASH))).url == url
    assert destination().render(Card(build_notification("crashed", OOM))).url != url
    other = destination(room_id="!abc:other.example").render(Card(NOTIFICATIONS[0])).url
    assert other.rpartition("/")[2] != url.rpartition("/")[2]


def test_a_room_stays_one_part_of_the_path() -> None:
    """Slashes, dots and other delimiters in the id of a room are encoded."""
    url = destination(room_id="!a/../b?c#d%2F").render(Card(NOTIFICATIONS[0])).url
    assert "/rooms/%21a%2F..%2Fb%3Fc%23d%252F/send/m.room.message/relay-" in url


def test_a_server_may_have_a_path() -> None:
    """The path of the API is appended to that of the homeserver's URL."""
    url = destination(url="https://x.example/matrix/").render(Card(NOTIFICATIONS[0])).url
    assert url.startswith("https://x.example/matrix/_matrix/client/v3/rooms/")


def test_the_token_is_in_the_header_only() -> None:
    """Neither the URL, which may be logged, nor the body contains it."""
    request = destination().render(Card(ALL_INCLUDED))
    assert request.headers["Authorization"] == "Bearer t0ken"
    assert "t0ken" not in request.url
    assert b"t0ken" not in request.body


def test_a_resolved_notification_is_green() -> None:
    """Its emoji is green, as in every other service."""
    assert message(Card(RESOLVED))["body"].startswith("🟢 Resolved: sick is unhealthy\n")


def test_shows_the_facts() -> None:
    """Both the plain text and the HTML have them."""
    sent = message(Card(NOTIFICATIONS[0]))
    assert "Image: bb:1\n" in sent["body"]
    assert "Image: <code>bb:1</code><br>" in sent["formatted_body"]


def test_shows_the_custom_text() -> None:
    """The title replaces the headline. The text replaces the facts and keeps its line breaks."""
    html = message(CUSTOM_CARD)["formatted_body"]
    assert "<strong>*Shop* is down: <code>shop-web-1</code></strong>" in html
    assert "<p>It ended with *42*: <code>*x* &lt;http://evil.example/x&gt;</code>.<br>- see" in html
    assert f'<a href="{RUNBOOK}">{RUNBOOK}</a>.<br># soon</p>' in html.replace("&amp;", "&")
    assert "Exit code" not in html


def test_shows_container_output_unchanged() -> None:
    """Its characters are escaped for HTML, and it keeps its line breaks."""
    html = message(Card(ALL_INCLUDED))["formatted_body"]
    assert "<pre><code>starting &lt;web&gt; &amp; co\n\npanic: no route to db-1\n" in html
    assert "not included: the container is gone" in message(Card(CONTAINER_GONE))["body"]


@any_card
def test_every_foreign_text_is_code(card: Card) -> None:
    """All text that is not relay's own is in code, so it cannot be markup or become a link."""
    html = message(card)["formatted_body"]
    rest = OURS.sub("", CODE.sub("", html))
    assert rest == "" or (card.notification.update is not None and WORDS.fullmatch(rest))
    read = Reader(html)
    assert read.tags <= {"p", "br", "strong", "pre", "code"}
    assert (read.open, read.attributes) == ([], [])
    assert read.code.replace("\n", "").isprintable()


@any_card
def test_nobody_is_ever_mentioned(card: Card) -> None:
    """``m.mentions`` is empty, and the plain text has no links and no unprintable characters."""
    sent = message(card)
    assert sent["m.mentions"] == {}
    assert (sent["msgtype"], sent["format"]) == ("m.text", "org.matrix.custom.html")
    assert not LINK.search(sent["body"])
    assert sent["body"].replace("\n", "").replace(ZERO_WIDTH_SPACE, "").isprintable()


@any_card
def test_keeps_the_limit_of_matrix(card: Card) -> None:
    """The content leaves enough of an event's size for what servers add."""
    assert len(destination().render(card).body) <= matrix.CONTENT_MAX < matrix.EVENT_MAX


@pytest.mark.parametrize(
    "filler",
    [*(it * 5_000 for it in ('"<漢\n', "a.b", "🔥", "漢", "&", "\u202e", "\n", ".a")), *ATTACKS],
)
def test_the_longest_message_is_within_the_limits(filler: str) -> None:
    """The limit holds if all parts are too long at once, in every encoding of characters."""
    for card in longest_cards(filler):
        assert len(destination().render(card).body) <= matrix.CONTENT_MAX


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (200, {"event_id": "$YUwRidLecu:example.com"}, Delivered()),
        (200, b"<!DOCTYPE html>", Retry(1.0, Reason.UNEXPECTED)),
        (200, b"", Retry(1.0, Reason.UNEXPECTED)),
        (404, b"", Dead(Reason.REFUSED)),
        (401, {"errcode": "M_UNKNOWN_TOKEN", "error": "x"}, Dead(Reason.REFUSED)),
        (403, {"errcode": "M_FORBIDDEN", "error": "x"}, Dead(Reason.REFUSED)),
        (413, {"errcode": "M_TOO_LARGE", "error": "x"}, Dead(Reason.REFUSED)),
        (
            429,
            {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500},
            Retry(2.5, Reason.RATE_LIMITED, pause_s=2.5),
        ),
        (
            400,
            b'{"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1' + b"0" * 400 + b"}",
            Retry(86400.0, Reason.RATE_LIMITED, pause_s=86400.0),
        ),
        (
            400,
            {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": -1},
            Retry(1.0, Reason.RATE_LIMITED, pause_s=1.0),
        ),
        (400, {"errcode": "M_LIMIT_EXCEEDED"}, Retry(1.0, Reason.RATE_LIMITED, pause_s=1.0)),
        (502, b"", Retry(1.0, Reason.UNAVAILABLE)),
        (None, b"", Retry(1.0, Reason.CONNECTION)),
    ],
)
def test_what_a_response_means(status: int | None, body: object, wanted: Outcome) -> None:
    """A message is delivered if the response has an event id; an error code overrides the status.

    A 200 without content is repeated, because the connection may have broken.
    """
    assert classify_response("matrix", status, body) == wanted


def test_the_longer_wait_counts() -> None:
    """If ``Retry-After`` and ``retry_after_ms`` differ, relay waits for the longer time."""
    body = {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500}
    assert classify_response("matrix", 429, body, retry_after="7") == Retry(
        7.0, Reason.RATE_LIMITED, pause_s=7.0
    )


def test_rooms_of_one_user_share_a_limit() -> None:
    """Destinations with the same access token share their limit, also for different rooms."""
    one, same = destination(), destination(room_id="!other:matrix.example")
    other = destination(access_token="another")
    limiters = RateLimiters().assign({"one": one, "same": same, "other": other})
    assert limiters["one"] is limiters["same"] is not limiters["other"]


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        (f"url: https://x, room_id: '{ROOM}'", "needs 'access_token' or 'access_token_file'"),
        ("url: https://x, access_token: t", "needs 'room_id'"),
        (f"access_token: t, room_id: '{ROOM}'", "needs 'url'"),
        (
            "url: https://x, access_token: t, room_id: '#ops:x.example'",
            "room_id: '#ops:x.example' is an alias: take the id of the room, which begins with '!'",
        ),
        ("url: https://x, access_token: t, room_id: ops", "room_id: 'ops' is not the id of a room"),
        (f"url: https://x, access_token: t, room_id: '!{'x' * 255}'", "is not the id of a room"),
        (
            "url: https://x, access_token: \"t\\n\", room_id: '!a'",
            "access_token: the value ends with a line break: remove it",
        ),
        (
            f"{KEYS}, bearer_token: x",
            "bearer_token: 'access_token' is the authorization: remove this key",
        ),
        (
            f"{KEYS}, headers: {{Authorization: x}}",
            "hold an Authorization, but 'access_token' is sent",
        ),
        (
            f"{KEYS}, basic_auth: {{username: a, password: b}}",
            "basic_auth: 'access_token' is the authorization: remove this key",
        ),
        (
            f"url: 'https://u:p@x', access_token: t, room_id: '{ROOM}'",
            "url: holds a user, but 'access_token' is sent: remove the user",
        ),
    ],
)
def test_problems_of_a_room(entry: str, wrong: str) -> None:
    """Each mistake gives exactly one clear problem, without a secret."""
    (problem,) = problems(f"type: matrix, {entry}")
    assert wrong in problem


@pytest.mark.parametrize("room", ["!a:x", "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM"])
def test_a_room_may_have_no_server_in_its_id(room: str) -> None:
    """In room version 12 an id has no server name."""
    entry = f"type: matrix, url: https://x, access_token: t, room_id: '{room}'"
    to = config_with(entry).destinations["to"]
    assert isinstance(to, MatrixDestination)
    assert to.room_id == room
