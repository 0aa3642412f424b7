"""A request as bytes."""

import pytest

from relay import __version__
from relay.core.exchange import Request
from relay.delivery.http.message import parse_origin, parse_target, serialize


def serialize_for(url: str, request: Request) -> bytes:
    """The bytes of a request to a URL."""
    return b"".join(serialize(request, parse_target(url)))


def head_lines(url: str = "http://h/", **headers: str) -> list[str]:
    """The lines of the head of a request."""
    return serialize_for(url, Request(b"", url, headers)).decode().split("\r\n")


def test_a_request_is_serialized() -> None:
    """Line by line, as in RFC 9112."""
    data = serialize_for(
        "http://hooks.example:8080/a b?c=d#e", Request(b"{}", "", {"webhook-id": "ntf_1"})
    )
    assert data.decode().split("\r\n") == [
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
def test_the_host_header_follows_the_url(url: str, host: str) -> None:
    """Without the default port of the scheme."""
    assert f"Host: {host}" in head_lines(url)


def test_a_user_in_the_url_is_authorized() -> None:
    """And appears nowhere else."""
    lines = head_lines("http://me:secret@h/x")
    assert "Authorization: Basic bWU6c2VjcmV0" in lines
    assert "secret" not in "".join(lines)


def test_a_header_of_the_request_replaces_the_default() -> None:
    """Whatever the case of its name."""
    lines = head_lines(**{"user-agent": "me"})
    assert [line for line in lines if line.lower().startswith("user-agent")] == ["user-agent: me"]


def test_only_a_get_has_no_length() -> None:
    """An empty POST has a length of 0."""
    assert "Content-Length: 0" in head_lines()
    assert b"Content-Length" not in serialize_for("http://h/", Request(b"", method="GET"))


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nx", "a\rx", "a\0"])
def test_a_header_cannot_break_out_of_its_line(value: str) -> None:
    """The name of a container must not become a header."""
    with pytest.raises(ValueError, match="line break"):
        head_lines(x=value)


@pytest.mark.parametrize("value", ["größe", "日本"])
def test_a_header_that_is_not_ascii_is_sent_as_utf_8(value: str) -> None:
    """Names of containers can be parts of headers."""
    assert f"x: {value}" in head_lines(x=value)


def test_only_https_uses_tls() -> None:
    """Its default port is 443."""
    assert parse_origin("http://h/") == ("h", 80, False)
    assert parse_origin("https://h/") == ("h", 443, True)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://h", "/"),
        ("http://h?a=b", "/?a=b"),
        ("http://h/?to=a%2Fb%20c+d&x=%7E", "/?to=a%2Fb%20c+d&x=%7E"),
        ("http://h//a//../b/./c", "//a//../b/./c"),
        ("http://h/%61%2f?", "/%61%2f?"),
        ("http://h/100%?q='!*", "/100%?q='!*"),
        ("http://h/?sig=a=b==&sig=", "/?sig=a=b==&sig="),
        ("http://me:p%2Fw@h:8080/x#y", "/x"),
        ("http://h/ü|?ü", "/%C3%BC%7C?%C3%BC"),
    ],
)
def test_a_path_and_a_query_are_sent_as_written(url: str, target: str) -> None:
    """They may be signed; only what a URL must not contain is encoded."""
    assert head_lines(url)[0] == f"POST {target} HTTP/1.1"


@pytest.mark.parametrize("url", ["ftp://h/", "h", "/x", "http:///x"])
def test_other_urls_have_no_origin(url: str) -> None:
    """Nothing is sent to them."""
    with pytest.raises(ValueError, match=r"http|[Hh]ost"):
        parse_origin(url)
