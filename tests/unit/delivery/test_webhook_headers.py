"""The headers by which a receiver knows a delivery."""

from relay.core.exchange import Request
from relay.delivery.signing import add_webhook_headers

REQUEST = Request(b"{}", "https://hooks.example/s3cret", {"Authorization": "Bearer s3cret"})


def test_says_which_and_when() -> None:
    """The notification's id and the attempt's time in whole seconds; all else stays as it was."""
    sent = add_webhook_headers(REQUEST, "ntf_1", 1795416514_938518046, None)
    assert sent.headers == {
        "Authorization": "Bearer s3cret",
        "webhook-id": "ntf_1",
        "webhook-timestamp": "1795416514",
    }
    assert (sent.body, sent.url) == (REQUEST.body, REQUEST.url)


def test_leaves_the_request_as_it_is() -> None:
    """The next attempt gets a time of its own."""
    add_webhook_headers(REQUEST, "ntf_1", 1, None)
    assert REQUEST.headers == {"Authorization": "Bearer s3cret"}


def test_a_request_shows_no_secret() -> None:
    """Not even stamped."""
    assert "s3cret" not in repr(add_webhook_headers(REQUEST, "ntf_1", 1, None))
