"""Removing secrets from responses."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import DestinationConfig
from relay.delivery.redact import MASK, MIN_SECRET_CHARS, Redactor, collect_secrets
from relay.destinations.http import HttpDestination
from relay.destinations.slack import SlackDestination
from relay.destinations.telegram import TelegramDestination

ALL_SECRETS = HttpDestination.model_validate(
    {
        "url": "https://hooks.example/services/canary-in-path/x?token=canary-in-query",
        "headers": {"X-Key": "canary-in-header", "X-Made": "canary-literal {{ event.name }}"},
        "query": {"key": "canary-in-key"},
        "proxy": "http://user:canary-in-proxy@proxy.example:3128",
        "basic_auth": {"username": "relay", "password": "canary-password"},
        "sign": "github",
        "signing_secret": "canary-signing",
    }
)


def redact(text: str, to: DestinationConfig = ALL_SECRETS) -> str:
    return Redactor(collect_secrets(to)).redact(text)


@pytest.mark.parametrize(
    "secret",
    [
        "canary-in-path",
        "canary-in-query",
        "canary-in-header",
        "canary-literal",
        "canary-in-key",
        "canary-in-proxy",
        "canary-password",
        "canary-signing",
        base64.b64encode(b"relay:canary-password").decode(),
    ],
)
def test_every_secret_is_redacted(secret: str) -> None:
    """Whatever option it comes from."""
    assert redact(f"no such thing: {secret}!") == f"no such thing: {MASK}!"


def test_the_path_of_a_webhook_is_a_secret() -> None:
    """A server repeats it in a 404."""
    slack = SlackDestination.model_validate({"url": "https://hooks.slack.example/services/T0/B0/x"})
    assert redact("Cannot POST /services/T0/B0/x", slack) == f"Cannot POST {MASK}"


def test_a_token_in_a_body_is_redacted() -> None:
    """Some services want it there; short words of the body are left alone."""
    body = {"auth": {"token": "canary-in-the-body"}, "text": "dies: {{ event.name }}"}
    entry = {"url": "https://x", "format": "template", "body": body}
    to = HttpDestination.model_validate(entry)
    assert redact("dies: canary-in-the-body is unknown", to) == f"dies: {MASK} is unknown"


def test_a_bearer_token_is_redacted_without_its_scheme() -> None:
    """A server may repeat the token alone."""
    to = HttpDestination.model_validate(
        {"url": "https://x", "headers": {"Authorization": "Bearer canary-token"}}
    )
    assert redact("token canary-token expired", to) == f"token {MASK} expired"


def test_a_bot_token_in_a_path_is_redacted() -> None:
    """Telegram's token is a part of the path."""
    entry = {"token": "123456:canary_canary_canary", "chat_id": "@ops"}
    to = TelegramDestination.model_validate(entry)
    assert "canary" not in redact("/bot123456:canary_canary_canary/sendMessage", to)


SECRET = 's3/cr&t "quoted" ünd <more>'


@pytest.mark.parametrize(
    "encoded",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET)[1:-1].replace("/", "\\/"),
        "s3/cr&amp;t &quot;quoted&quot; ünd &lt;more&gt;",
        "s3/cr&amp;t &#34;quoted&#34; ünd &lt;more&gt;",
        's3/cr\\u0026t \\"quoted\\" \\u00fcnd \\u003cmore\\u003e',
        quote(SECRET, safe="").lower(),
        SECRET.upper(),
    ],
)
def test_every_encoding_is_redacted(encoded: str) -> None:
    """Percent-encoded, in JSON and in HTML."""
    assert Redactor([SECRET]).redact(f"<{encoded}>") == f"<{MASK}>"


@pytest.mark.parametrize("option", ["url", "proxy"])
def test_basic_authorization_from_a_url_is_redacted(option: str) -> None:
    """A server that repeats the Authorization header repeats the password."""
    entry = {"url": "https://x", option: "https://bob:canary-password@host.example/x"}
    to = HttpDestination.model_validate(entry)
    sent = base64.b64encode(b"bob:canary-password").decode()
    assert redact(f"Authorization: Basic {sent}", to) == f"Authorization: Basic {MASK}"


def test_short_words_are_left_alone() -> None:
    """A path like ``/hook`` hides no word of a response."""
    to = HttpDestination.model_validate({"url": "https://x/hook"})
    assert len("/hook") < MIN_SECRET_CHARS
    assert redact("the hook is unknown", to) == "the hook is unknown"


@given(st.lists(st.text(min_size=MIN_SECRET_CHARS, max_size=12), max_size=5), st.text(max_size=60))
def test_no_secret_is_left(secrets: list[str], text: str) -> None:
    """Also if one is a part of another, or of the text around it."""
    mixed = text.join(secrets)
    cleaned = Redactor(secrets).redact(mixed).split(MASK)
    for secret in secrets:
        assert not any(secret in part for part in cleaned)


def test_without_secrets_text_stays_as_it_is() -> None:
    """The lookahead is 0 as well."""
    assert Redactor([]).redact("as it is") == "as it is"
    assert Redactor([]).lookahead_bytes == 0
