"""The URLs that ``link`` templates make."""

import re
import string
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.templates.link import LINK_MAX, find_host, make_link
from relay.config.templates.parts import TemplatePart

OWN = "https://wiki.example.com/run/"
LINK_CHARACTERS = set(string.ascii_letters + string.digits + "/?#:@!$&+,;=%-._~")


def own(text: str) -> TemplatePart:
    """What the author of the template wrote."""
    return TemplatePart(text, True)


def filled(text: str) -> TemplatePart:
    """What somebody else chose."""
    return TemplatePart(text, False)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("shop-web-1", "shop-web-1"),
        ("shop/web:1", "shop%2Fweb%3A1"),
        ("../../admin", "..%2F..%2Fadmin"),
        ("a?b=c#d", "a%3Fb%3Dc%23d"),
        ("//evil.example", "%2F%2Fevil.example"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("a\r\nHost: evil\x00", "a%0D%0AHost%3A%20evil%00"),
        ("\u202egnp", "%E2%80%AEgnp"),
        ("日本", "%E6%97%A5%E6%9C%AC"),
        ("100%25", "100%2525"),
        ("<!channel> [x](y) *b*", "%3C%21channel%3E%20%5Bx%5D%28y%29%20%2Ab%2A"),
    ],
)
def test_values_are_percent_encoded(value: str, shown: str) -> None:
    """No character of a value means anything in the URL."""
    assert make_link([own(OWN), filled(value)]) == OWN + shown


@given(st.text(), st.text())
def test_no_value_leads_elsewhere(first: str, second: str) -> None:
    """Scheme, host, the number of folders and of parameters are the author's; values arrive."""
    parts = [own(f"{OWN}x"), filled(first), own("/y?a=1&b="), filled(second), own("#top")]
    made = make_link(parts, limit=1_000_000)
    assert made is not None
    url = urlsplit(made)
    assert set(made) <= LINK_CHARACTERS
    assert (url.scheme, url.netloc, url.fragment) == ("https", "wiki.example.com", "top")
    assert [unquote(part) for part in url.path.split("/")] == ["", "run", f"x{first}", "y"]
    assert [unquote(part) for part in url.query.split("&")] == ["a=1", f"b={second}"]


@pytest.mark.parametrize("value", [".", "..", ""])
def test_no_value_leads_to_another_folder(value: str) -> None:
    """Programs resolve such a part of a path, however it is encoded."""
    for parts in (
        [own(OWN), filled(value), own(".")],
        [own(f"{OWN}."), filled(value), own("/x")],
        [own(f"{OWN}%2E"), filled(value), own("?x")],
    ):
        if value == "..":  # three dots are an ordinary name
            assert make_link(parts) is not None
            continue
        with pytest.raises(ValueError, match=re.escape("'.' or '..'")):
            make_link(parts)
    with pytest.raises(ValueError, match=re.escape("'.' or '..'")):
        make_link([own(f"{OWN}../x")])


@pytest.mark.parametrize(
    "parts",
    [
        [filled("https://wiki.example.com/x")],
        [filled("https"), own("://wiki.example.com/x")],
        [own("https://"), filled("wiki.example.com"), own("/x")],
        [own("https://wiki."), filled("example.com"), own("/x")],
        [own("https://wiki.example.com"), filled("evil.example")],
        [own("https://wiki.example.com"), filled(":80"), own("/x")],
        [own("https://wiki.example.com"), filled("@evil.example"), own("/x")],
        [own("https://wiki.example.com:"), filled("80")],
        [own("https://ann:secret@wiki.example.com/")],
        [own("ftp://wiki.example.com/")],
        [own("javascript:alert(1)")],
        [own("//wiki.example.com/")],
        [own("/x")],
        [own("https:///x")],
        [own("https://wiki..example.com/")],
        [own("https://wiki.example.com:0/")],
        [own("https://wiki.example.com:65536/")],
        [own("https://wiki.example.com:" + "9" * 5_000)],
        [own("https://" + "a" * 64 + "/")],
        [own("https://" + "a." * 130 + "de/")],
        [own("https://日本.example/")],
        [own("see https://wiki.example.com/")],
    ],
)
def test_scheme_and_host_are_the_authors(parts: list[TemplatePart]) -> None:
    """Otherwise there is no link."""
    with pytest.raises(ValueError, match="scheme and host"):
        make_link(parts)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://wiki.example.com", "wiki.example.com"),
        ("http://grafana:3000/d/x", "grafana"),
        ("HTTPS://Wiki.example.com/", "Wiki.example.com"),
        ("http://[fd00::1]:3000/x", "[fd00::1]"),
        ("http://10.0.0.7?x", "10.0.0.7"),
        ("https://a_b.example.com.#x", "a_b.example.com."),
    ],
)
def test_hosts(text: str, host: str) -> None:
    """Names, addresses and ports of every kind."""
    assert make_link([own(text)]) == text
    assert find_host(text) == host


def test_the_authors_words_stay() -> None:
    """Except what would be markup in a chat, and white space at the ends."""
    words = f' \n{OWN}d/(a)?q={{x="y z"}}&w=50%25&t=[1]\n'
    assert make_link([own(words)]) == (f"{OWN}d/%28a%29?q=%7Bx=%22y%20z%22%7D&w=50%25&t=%5B1%5D")
    with pytest.raises(ValueError, match="line break"):
        make_link([own(f"{OWN}x\ny")])


def test_nothing_makes_no_link() -> None:
    """So a template can decide that there is none."""
    assert make_link([]) is None
    assert make_link([own(" \n"), filled(""), own("\n")]) is None


def test_is_bounded() -> None:
    """Encoding makes a value up to twelve times as long; a link that is too long is none."""
    fits = OWN + "x" * (LINK_MAX - len(OWN))
    assert make_link([own(fits)]) == fits
    with pytest.raises(ValueError, match="is longer than 1,000 characters"):
        make_link([own(OWN), filled("🔥" * 1_000)])
    with pytest.raises(ValueError, match="is longer than 500 characters"):
        make_link([own(fits)], limit=500)
