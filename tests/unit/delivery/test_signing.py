"""Signatures, checked by those who are to check them."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import msgspec
import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from relay.config import ConsoleDestination, HttpDestination
from relay.core.exchange import Request
from relay.delivery.signing import add_webhook_headers, make_signer

OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 64).decode()


def destination(**parts: object) -> HttpDestination:
    return HttpDestination.model_validate({"url": "https://hooks.example/x", **parts})


def sign_now(body: bytes, to: HttpDestination) -> Request:
    """A request as it is sent now."""
    now_ns = int(datetime.now(UTC).timestamp()) * 10**9
    return add_webhook_headers(
        Request(body, "https://hooks.example/x"), "ntf_1", now_ns, make_signer(to)
    )


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists))
def test_the_official_library_accepts_it(document: object) -> None:
    """Over exactly the bytes that are sent, whatever they are."""
    request = sign_now(msgspec.json.encode(document), destination(signing_secret=NEW))
    assert standardwebhooks.Webhook(NEW).verify(request.body, dict(request.headers)) == document


def test_with_two_secrets_either_accepts_it() -> None:
    """While a secret is changed, a receiver that has only the old one, or only the new one."""
    request = sign_now(b"{}", destination(signing_secret=f"{NEW}\n{OLD}"))
    assert len(request.headers["webhook-signature"].split()) == 2
    for secret in (OLD, NEW):
        standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))


@pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp", "secret"])
def test_nothing_can_be_changed(changed: str) -> None:
    """The body, the id and the time are signed, with that secret alone."""
    request = sign_now(b"{}", destination(signing_secret=NEW))
    headers, body, secret = dict(request.headers), request.body, NEW
    match changed:
        case "body":
            body = b"[]"
        case "secret":
            secret = OLD
        case "webhook-timestamp":
            headers[changed] = str(int(headers[changed]) - 1)
        case _:
            headers[changed] += "x"
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(body, headers)


def test_each_attempt_is_signed_with_its_own_time() -> None:
    """A receiver that refuses old timestamps takes a late retry."""
    sign = make_signer(destination(signing_secret=NEW))
    first, second = (
        add_webhook_headers(Request(b"{}"), "ntf_1", at * 10**9, sign) for at in (1, 2)
    )
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_signs_as_github_does() -> None:
    """``X-Hub-Signature-256`` and nothing else; the secret is taken as it is written."""
    request = sign_now(b"{}", destination(sign="github", signing_secret="It's a Secret"))
    wanted = hmac.new(b"It's a Secret", b"{}", hashlib.sha256).hexdigest()
    assert request.headers["X-Hub-Signature-256"] == f"sha256={wanted}"
    assert "webhook-signature" not in request.headers


def test_signs_as_github_documents() -> None:
    """The example of its page on validating webhook deliveries."""
    to = destination(sign="github", signing_secret="It's-a-Secret-to-Everybody")
    sign = make_signer(to)
    assert sign is not None
    assert sign(Request(b"Hello, World!"), "", 0) == {
        "X-Hub-Signature-256": "sha256="
        + hmac.new(b"It's-a-Secret-to-Everybody", b"Hello, World!", "sha256").hexdigest()
    }


def test_without_a_secret_nothing_is_signed() -> None:
    """Nor is what goes to a terminal."""
    assert make_signer(destination()) is None
    assert make_signer(ConsoleDestination()) is None
