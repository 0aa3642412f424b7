"""The method, headers and query that a configuration adds to a request."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from yarl import URL

from relay.core.exchange import Request
from relay.core.notification import Notification, build_notification
from relay.core.zone import UTC_ZONE
from relay.destinations.common.envelope import VALUE_MAX, Envelope
from relay.destinations.http import HttpDestination
from relay.destinations.slack import SlackDestination
from tests.unit.destinations.samples import ATTACKS, CRASH
from tests.unit.destinations.strategies import notifications

BARE = Request(b"{}", "https://x/hook?a=1", {"Content-Type": "application/json"})


def wrap(
    notification: Notification, failures: list[tuple[str, str]] | None = None, **parts: object
) -> Request:
    to = HttpDestination.model_validate({"url": "https://x", **parts})
    noted: list[tuple[str, str]] = [] if failures is None else failures
    envelope = Envelope(to, lambda where, why: noted.append((where, why)), zone=UTC_ZONE)
    return envelope.wrap(BARE, notification, to.method)


def crash(name: str) -> Notification:
    """A crash of a container with this name."""
    actor = msgspec.structs.replace(CRASH.actor, name=name)
    return build_notification("r", msgspec.structs.replace(CRASH, actor=actor))


def test_nothing_is_added_by_default() -> None:
    """The request of the format is sent unchanged."""
    assert wrap(crash("a")) == BARE


def test_headers_and_query_are_added() -> None:
    """They are added to those of the format and of the URL; templates are rendered."""
    sent = wrap(
        crash("web 1"),
        headers={"X-Name": "is {{ event.name }}", "X-Plain": "p"},
        query={"name": "{{ event.name }}&x", "a": "2"},
    )
    assert sent.headers == {**BARE.headers, "X-Name": "is web 1", "X-Plain": "p"}
    assert sent.url == "https://x/hook?a=1&a=2&name=web+1%26x"


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://x", "https://x?q=1"),
        ("https://x/?sig=a%2Fb%2fc+d~é", "https://x/?sig=a%2Fb%2fc+d~é&q=1"),
        ("https://x/a%20b;c#d?e", "https://x/a%20b;c?q=1"),
    ],
)
def test_a_url_is_never_encoded_anew(url: str, sent: str) -> None:
    """The query of the URL is unchanged, as it may be signed."""
    to = HttpDestination.model_validate({"url": "https://x", "query": {"q": "1"}})
    assert Envelope(to, print, zone=UTC_ZONE).wrap(Request(b"", url), crash("a")).url == sent


def test_a_query_replaces_characters_without_encoding() -> None:
    """Half a surrogate pair in a name becomes a question mark."""
    assert wrap(crash("a"), query={"\ud800": "q"}).url == f"{BARE.url}&%3F=q"


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ({"bearer_token": "t0ken"}, "Bearer t0ken"),
        (
            {"basic_auth": {"username": "ü", "password": "p:w"}},
            f"Basic {base64.b64encode('ü:p:w'.encode()).decode()}",
        ),
    ],
)
def test_sends_the_authorization(parts: dict[str, Any], wanted: str) -> None:
    """The header has a token, or a user and a password."""
    assert wrap(crash("a"), **parts).headers["Authorization"] == wanted


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_uses_the_configured_method(method: str) -> None:
    """Requests with PUT and PATCH have the same body as with POST."""
    sent = wrap(crash("a"), method=method)
    assert (sent.method, sent.body) == (method, b"{}")


def test_a_get_has_no_body() -> None:
    """It has neither a body nor a content type."""
    sent = wrap(crash("a"), method="GET", headers={"X": "y"})
    assert (sent.method, sent.body, sent.headers) == ("GET", b"", {"X": "y"})


def test_a_services_method_is_its_own() -> None:
    """It is the method that the API of the service requires."""
    to = SlackDestination.model_validate({"url": "https://x"})
    assert Envelope(to, print, zone=UTC_ZONE).wrap(BARE, crash("a")).method == "POST"


@pytest.mark.parametrize(
    "name",
    [
        *("a\r\nX-Evil: 1", "a\nb", "a\x00", "\x1b[2J", "a\tb", "\x9b31m", "\u202egnp", "a\u2028b"),
        "x" * (VALUE_MAX + 1),
    ],
)
def test_a_header_with_control_characters_is_left_out(name: str) -> None:
    """It is reported by its name, and the others are sent."""
    failures: list[tuple[str, str]] = []
    headers = {"X-Name": "{{ event.name }}", "X-Other": "{{ severity }}"}
    sent = wrap(crash(name), failures, headers=headers)
    assert sent.headers == {**BARE.headers, "X-Other": "critical"}
    assert [where for where, _ in failures] == ["headers.X-Name"]
    assert name not in failures[0][1]


def test_a_query_takes_everything_but_what_is_too_long() -> None:
    """Any characters of a value are encoded; a value that is too long is left out."""
    failures: list[tuple[str, str]] = []
    sent = wrap(crash("a\r\n&b=c#d"), failures, query={"name": "{{ event.name }}"})
    assert sent.url == f"{BARE.url}&name=a%0D%0A%26b%3Dc%23d"
    assert "\n" not in sent.url
    wrap(crash("x" * (VALUE_MAX + 1)), failures, query={"name": "{{ event.name }}"})
    assert [where for where, _ in failures] == ["query.name"]


def test_a_failing_template_is_left_out_and_reported() -> None:
    """The report never quotes a template, which may be secret."""
    failures: list[tuple[str, str]] = []
    hush = "{{ event.labels['hush'] }}"
    sent = wrap(crash("a"), failures, headers={"X": hush}, query={"q": f"{hush}{{{{ 1 // 0 }}}}"})
    assert sent == BARE
    assert failures == [
        ("headers.X", "it fails for these values"),
        ("query.q", "it fails for these values"),
    ]


@given(notifications)
def test_no_header_ever_breaks_its_line(notification: Notification) -> None:
    """A header value is always printable."""
    sent = wrap(notification, headers={"X": "{{ event.name }}{{ event.labels | tojson }}"})
    assert all(value.isprintable() for value in sent.headers.values())


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_value_is_never_evaluated(attack: str) -> None:
    """A value that looks like a template is sent as it is."""
    sent = wrap(crash(attack), query={"name": "{{ event.name }}"})
    assert URL(sent.url).query.get("name", attack) == attack
