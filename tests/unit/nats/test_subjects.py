"""The subjects of events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.nats_keys import MAX_TOKEN_CHARS
from relay.nats.subjects import (
    EventSubject,
    event_subject,
    host_subjects,
    is_token,
    make_token,
    parse_subject,
)


def test_a_subject_names_host_type_and_action() -> None:
    """Whoever filters by subject finds the host, the type and the action in it."""
    assert event_subject("web-17", "container", "die") == "relay.events.web-17.container.die"
    assert host_subjects("web-17") == "relay.events.web-17.>"


@given(st.text(min_size=1, max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_whatever_an_event_says_stays_within_its_host(host: str, type_: str, action: str) -> None:
    """No type and no action adds a part to the subject, or a wildcard, or another host."""
    token = make_token(host)
    assert is_token(token)
    parsed = parse_subject(event_subject(token, type_, action))
    assert parsed is not None
    assert parsed.host == token


@pytest.mark.parametrize(
    "subject",
    [
        "relay.events",
        "relay.events.web-17",
        "relay.events.web-17.container",
        "relay.events.web-17.container.die.more",
        "relay.events..container.die",
        "relay.events.web 17.container.die",
        f"relay.events.{'h' * (MAX_TOKEN_CHARS + 1)}.container.die",
        "other.events.web-17.container.die",
        "relay.eventsx.web-17.container.die",
        "",
    ],
)
def test_other_subjects_name_no_host(subject: str) -> None:
    """A foreign subject is not taken for that of a host."""
    assert parse_subject(subject) is None


def test_parse_returns_what_the_subject_says() -> None:
    """The parts come back."""
    subject = parse_subject("relay.events.db-1.relay.heartbeat")
    assert subject == EventSubject("db-1", "relay", "heartbeat")


@pytest.mark.parametrize(
    ("text", "token"),
    [("web-17.example.com", "web-17-example-com"), ("a b*c>", "a-b-c-"), ("", "-")],
)
def test_a_host_name_becomes_one_token(text: str, token: str) -> None:
    """A full host name becomes a name that a subject can hold."""
    assert make_token(text) == token
