"""A request as bytes."""

import ssl

import pytest
from yarl import URL

from relay import __version__
from relay.core.exchange import Request
from relay.delivery.http.request import parse_origin, parse_target, serialize

SSL_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def serialize_for(url: str, request: Request) -> bytes:
    return serialize(request, parse_target(URL(url)))


def head_lines(url: str = "http://h/", **headers: str) -> list[str]:
    """The lines of a request's head."""
    return serialize_for(url, Request(b"", url, headers)).decode().split("\r\n")


def test_a_request_is_said_in_full() -> None:
    """Line by line, as RFC 9112 has it."""
    said = serialize_for(
        "http://hooks.example:8080/a b?c=d#e", Request(b"{}", "", {"webhook-id": "ntf_1"})
    )
    assert said.decode().split("\r\n") == [
        "POST /a%20b?c=d HTTP/1.1",
        "Host: hooks.example:8080",
        f"User-Agent: relay/{__version__}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "webhook-id: ntf_1",
        "Content-Length: 2",
        "",
        "{}",
    ]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://hooks.example/", "hooks.example"),
        ("https://hooks.example:443/", "hooks.example"),
        ("http://hooks.example:443/", "hooks.example:443"),
        ("http://[::1]:80/", "[::1]"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
    ],
)
def test_the_host_is_named_as_the_url_means_it(url: str, host: str) -> None:
    """Without the scheme's own port."""
    assert f"Host: {host}" in head_lines(url)


def test_a_user_in_the_url_is_authorized() -> None:
    """And stands nowhere else."""
    lines = head_lines("http://me:secret@h/x")
    assert "Authorization: Basic bWU6c2VjcmV0" in lines
    assert "secret" not in "".join(lines)


def test_what_the_request_says_is_said_once() -> None:
    """However its name is written."""
    lines = head_lines(**{"user-agent": "me"})
    assert [line for line in lines if line.lower().startswith("user-agent")] == ["user-agent: me"]


def test_only_a_get_has_no_length() -> None:
    """An empty POST says that it is empty."""
    assert "Content-Length: 0" in head_lines()
    assert b"Content-Length" not in serialize_for("http://h/", Request(b"", method="GET"))


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nx", "a\rx", "a\0"])
def test_a_header_cannot_break_out_of_its_line(value: str) -> None:
    """What a container is called must not become a header."""
    with pytest.raises(ValueError, match="line break"):
        head_lines(x=value)


@pytest.mark.parametrize("value", ["größe", "日本"])
def test_a_header_that_is_not_ascii_is_sent_as_utf_8(value: str) -> None:
    """Names of containers end up in headers."""
    assert f"x: {value}" in head_lines(x=value)


def test_only_https_is_trusted_with_anything() -> None:
    """And has a port of its own."""
    assert parse_origin(URL("http://h/"), lambda: SSL_CONTEXT) == ("h", 80, None)
    assert parse_origin(URL("https://h/"), lambda: SSL_CONTEXT) == ("h", 443, SSL_CONTEXT)


@pytest.mark.parametrize("url", ["ftp://h/", "h", "/x", "http:///x"])
def test_what_is_no_url_of_the_web_leads_nowhere(url: str) -> None:
    """Nothing is sent there."""
    with pytest.raises(ValueError, match=r"http|[Hh]ost"):
        parse_origin(URL(url), lambda: SSL_CONTEXT)
