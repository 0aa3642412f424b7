"""Pushover messages."""

import json
from typing import Any

import pytest

from relay.core.exchange import Dead, Delivered, Outcome, Reason, Retry
from relay.core.text import utf16_length
from relay.delivery.rate_limit import RateLimiters
from relay.destinations import pushover
from relay.destinations.common.card import Card
from relay.destinations.pushover import PushoverDestination
from tests.unit.destinations.answers import classify_response
from tests.unit.destinations.common.test_plain_text import LINK, any_card
from tests.unit.destinations.configs import config_with, problems
from tests.unit.destinations.contract import Contract
from tests.unit.destinations.samples import (
    ALL_INCLUDED,
    NOTIFICATIONS,
    RESOLVED,
    crash_with_included,
)
from tests.unit.destinations.updates import longest_cards

TOKEN, USER = "a" * 30, "u" * 30
KEYS = f"token: {TOKEN}, user: {USER}"


def destination(**keys: object) -> PushoverDestination:
    """A destination for one user; ``keys`` override its keys."""
    return PushoverDestination.model_validate({"token": TOKEN, "user": USER, **keys})


CONTRACT = Contract(
    keys=KEYS,
    endpoint="https://api.pushover.net/1/messages.json",
    sample=destination(),
    secrets={"token": "canary" * 5, "user": "yranac" * 5},
    dangerous=("://",),
    interpreted=lambda sent: iter([sent["message"]]),
    severity=lambda sent: (sent["priority"], sent["title"][0]),
    shown=((1, "🔴"), (0, "🟠"), (-1, "🔵"), (-1, "🟢")),
    canary={
        "url": "{at}/1/messages.json",
        "token": "{canary}tokentokentokentoken",
        "user": "{canary}useruseruseruseruser",
    },
)


def message(card: Card, **keys: object) -> Any:
    """The message as Pushover reads it."""
    return json.loads(destination(**keys).render(card).body)


def test_a_resolved_one_makes_no_sound() -> None:
    """A resolved notification has priority -1, even if the trouble was critical."""
    sent = message(Card(RESOLVED), emergency_every="1m")
    assert (sent["priority"], sent["title"]) == (-1, "🟢 Resolved: sick is unhealthy")


def test_an_emergency_is_repeated() -> None:
    """A critical notification has priority 2 with ``emergency_every``, and 1 without it."""
    sent = message(Card(NOTIFICATIONS[0]), emergency_every="90s", ttl="1h")
    assert (sent["priority"], sent["retry"], sent["expire"]) == (2, 90, 3600)
    assert "ttl" not in sent
    sent = message(Card(NOTIFICATIONS[0]))
    assert (sent["priority"], "retry" in sent, "expire" in sent) == (1, False, False)


def test_device_sound_and_time_to_live() -> None:
    """These parameters are sent only if they are set."""
    sent = message(Card(NOTIFICATIONS[0]), device="phone,tablet", sound="siren", ttl="2h")
    assert (sent["device"], sent["sound"], sent["ttl"]) == ("phone,tablet", "siren", 7200)
    assert not {"device", "sound", "ttl"} & set(message(Card(NOTIFICATIONS[0])))


def test_has_the_time_of_the_event() -> None:
    """The timestamp is that of the event in seconds, not that of the request."""
    assert message(Card(NOTIFICATIONS[0]))["timestamp"] == 1795418989


def test_output_takes_what_is_left() -> None:
    """A short log is shown as a whole. A long log fills the message, and only its end is shown."""
    text = message(Card(ALL_INCLUDED))["message"]
    assert "panic: no route to db-1" in text
    assert "no answer" in text
    text = message(Card(crash_with_included(logs=[f"line {n}" for n in range(500)])))["message"]
    assert 900 < utf16_length(text) <= pushover.MESSAGE_MAX
    assert "│ line 499\n" in text


@any_card
def test_is_plain_text_and_nothing_else(card: Card) -> None:
    """A message has no parameters for HTML, a fixed width or a URL, and no text becomes a link."""
    sent = message(card)
    assert set(sent) == {"token", "user", "title", "message", "timestamp", "priority"}
    assert not LINK.search(sent["message"])
    assert sent["title"].isprintable()


@any_card
def test_keeps_every_limit_of_pushover(card: Card) -> None:
    """Title and message are neither empty nor too long, which Pushover would refuse."""
    sent = message(card)
    assert 1 <= utf16_length(sent["message"]) <= pushover.MESSAGE_MAX
    assert 1 <= utf16_length(sent["title"]) <= pushover.TITLE_MAX


@pytest.mark.parametrize("filler", ['"<漢\n' * 5_000, "a.b" * 5_000, "🔥" * 9_000, "x" * 9_000])
def test_the_longest_message_is_within_the_limits(filler: str) -> None:
    """The limit holds if all parts are too long at once."""
    for card in longest_cards(filler):
        assert 600 < utf16_length(message(card)["message"]) <= pushover.MESSAGE_MAX


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (200, b'{"status":1,"request":"r"}', Delivered()),
        (200, b'{"status":0,"errors":["no"]}', Dead(Reason.REJECTED)),
        (400, b'{"user":"invalid","errors":["user identifier is invalid"],"status":0}', None),
        (500, b"", Retry(5.0, Reason.UNAVAILABLE, pause_s=5.0)),
        (None, b"", Retry(5.0, Reason.CONNECTION, pause_s=5.0)),
    ],
)
def test_what_a_response_means(status: int | None, body: bytes, wanted: Outcome | None) -> None:
    """The ``status`` 1 in the body is success; after a 5xx relay waits for five seconds."""
    assert classify_response("pushover", status, body) == (wanted or Dead(Reason.REFUSED))


def test_an_exhausted_quota_pauses_until_it_is_renewed() -> None:
    """The pause starts with the last message of the quota, and is counted by the server's clock."""
    headers = {"date": "Mon, 30 Nov 2026 10:00:00 GMT", "x_limit_app_reset": "1796032860"}
    assert classify_response("pushover", 429, b'{"status":0}', **headers) == Retry(
        60.0, Reason.RATE_LIMITED, 60.0
    )
    last = classify_response("pushover", 200, b'{"status":1}', x_limit_app_remaining="0", **headers)
    assert last == Delivered(pause_s=60.0)
    assert classify_response("pushover", 429, b"") == Retry(1.0, Reason.RATE_LIMITED, pause_s=1.0)


@pytest.mark.parametrize("date", ["soon", "Mon, 1 Jan 99999999999 00:00:00 GMT"])
def test_an_invalid_date_is_ignored(date: str) -> None:
    """Without a valid ``Date`` the time of the reset means nothing: relay's own schedule holds."""
    outcome = classify_response("pushover", 429, b"", date=date, x_limit_app_reset="1796032860")
    assert outcome == Retry(1.0, Reason.RATE_LIMITED, pause_s=1.0)


def test_destinations_of_one_application_share_a_limit() -> None:
    """Destinations with the same token share their limit, also for different users."""
    one, same, other = destination(), destination(user="v" * 30), destination(token="b" * 30)
    limiters = RateLimiters().assign({"one": one, "same": same, "other": other})
    assert limiters["one"] is limiters["same"] is not limiters["other"]


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        (f"user: {USER}", "needs 'token' or 'token_file'"),
        (f"token: {TOKEN}", "needs 'user' or 'user_file'"),
        (f"token: x, user: {USER}", "token: the value is not the token of an application"),
        (f"token: {TOKEN}, user: 'a b'", "user: the value is not the key of a user or a group"),
        (f"{KEYS}, device: 'a b'", "device: 'a b' is not the name of a device"),
        (f"{KEYS}, sound: '../x'", "sound: '../x' is not the name of a sound"),
        (f"{KEYS}, ttl: 0s", "ttl: '0s' is less than 1s"),
        (f"{KEYS}, emergency_every: 29s", "emergency_every: '29s' is less than 30s"),
        (f"{KEYS}, emergency_for: 4h", "emergency_for: '4h' is more than 3h"),
        (
            f"{KEYS}, emergency_for: 2h",
            "emergency_for: 'emergency_for' has no effect without 'emergency_every'",
        ),
        (
            f"{KEYS}, emergency_every: 2h",
            "to: 'emergency_for' is shorter than 'emergency_every'",
        ),
        (f"{KEYS}, concurrency: 3", "concurrency: '3' is more than 2"),
    ],
)
def test_problems_of_an_application(entry: str, wrong: str) -> None:
    """Each mistake gives exactly one clear problem, without a secret."""
    (problem,) = problems(f"type: pushover, {entry}")
    assert wrong in problem


def test_several_users() -> None:
    """Keys of several users are sent as one text, with commas between them."""
    to = config_with(f"type: pushover, token: {TOKEN}, user: '{USER},{USER}'").destinations["to"]
    assert isinstance(to, PushoverDestination)
    assert to.user.get_secret_value() == f"{USER},{USER}"
