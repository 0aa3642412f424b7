"""Webhook headers and signatures, checked with the official libraries."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import msgspec
import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from relay.core.exchange import Request
from relay.delivery.client import add_webhook_headers, make_signer
from relay.destinations.console import ConsoleDestination
from relay.destinations.http import HttpDestination

OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 64).decode()
REQUEST = Request(b"{}", "https://hooks.example/s3cret", {"Authorization": "Bearer s3cret"})


def destination(**parts: object) -> HttpDestination:
    """A webhook with these options."""
    return HttpDestination.model_validate({"url": "https://hooks.example/x", **parts})


def sign_now(body: bytes, to: HttpDestination) -> Request:
    """A request with its headers, as it is sent now."""
    now_ns = int(datetime.now(UTC).timestamp()) * 10**9
    return add_webhook_headers(
        Request(body, "https://hooks.example/x"), "ntf_1", now_ns, make_signer(to)
    )


@given(st.recursive(st.text() | st.integers() | st.none(), st.lists))
def test_the_official_library_accepts_the_signature(document: object) -> None:
    """The signature covers exactly the bytes that are sent."""
    request = sign_now(msgspec.json.encode(document), destination(signing_secret=NEW))
    assert standardwebhooks.Webhook(NEW).verify(request.body, dict(request.headers)) == document


def test_with_two_secrets_either_verifies() -> None:
    """During a change of the secret, a receiver may have only one of them."""
    request = sign_now(b"{}", destination(signing_secret=f"{NEW}\n{OLD}"))
    assert len(request.headers["webhook-signature"].split()) == 2
    for secret in (OLD, NEW):
        standardwebhooks.Webhook(secret).verify(request.body, dict(request.headers))


@pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp", "secret"])
def test_any_change_is_detected(changed: str) -> None:
    """Body, id and time are signed, with this secret alone."""
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
    """A receiver that refuses old timestamps accepts a late retry."""
    sign = make_signer(destination(signing_secret=NEW))
    first, second = (
        add_webhook_headers(Request(b"{}"), "ntf_1", at * 10**9, sign) for at in (1, 2)
    )
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_signs_as_github_does() -> None:
    """Only ``X-Hub-Signature-256`` is sent; the secret is used as it is written."""
    request = sign_now(b"{}", destination(sign="github", signing_secret="It's a Secret"))
    expected = hmac.new(b"It's a Secret", b"{}", hashlib.sha256).hexdigest()
    assert request.headers["X-Hub-Signature-256"] == f"sha256={expected}"
    assert "webhook-signature" not in request.headers


def test_signs_as_github_documents() -> None:
    """The example of GitHub's page on validating webhook deliveries."""
    to = destination(sign="github", signing_secret="It's-a-Secret-to-Everybody")
    sign = make_signer(to)
    assert sign is not None
    assert sign(Request(b"Hello, World!"), "", 0) == {
        "X-Hub-Signature-256": "sha256="
        + hmac.new(b"It's-a-Secret-to-Everybody", b"Hello, World!", "sha256").hexdigest()
    }


def test_without_a_secret_nothing_is_signed() -> None:
    """Nor is what goes to the console."""
    assert make_signer(destination()) is None
    assert make_signer(ConsoleDestination()) is None


def test_adds_the_id_and_the_time() -> None:
    """The time of the attempt is in whole seconds; everything else stays as it was."""
    sent = add_webhook_headers(REQUEST, "ntf_1", 1795416514_938518046, None)
    assert sent.headers == {
        "Authorization": "Bearer s3cret",
        "webhook-id": "ntf_1",
        "webhook-timestamp": "1795416514",
    }
    assert (sent.body, sent.url) == (REQUEST.body, REQUEST.url)


def test_leaves_the_request_as_it_is() -> None:
    """The next attempt gets its own time."""
    add_webhook_headers(REQUEST, "ntf_1", 1, None)
    assert REQUEST.headers == {"Authorization": "Bearer s3cret"}


def test_a_request_shows_no_secret() -> None:
    """Its repr does not show the headers."""
    assert "s3cret" not in repr(add_webhook_headers(REQUEST, "ntf_1", 1, None))
