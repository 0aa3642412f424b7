"""The pictures are made of what relay sends."""

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from relay.core.incident import Audience
from relay.destinations.catalog import DESTINATION_TYPES
from relay.dryrun.story import Cast
from tests.unit.docs.pages import DOCS
from tools.pictures.__main__ import (
    FOLDER,
    MAX_BYTES,
    PICTURES,
    check,
    find_file,
    make_page,
    make_terminal_page,
)
from tools.pictures.payloads import DESTINATIONS, MOMENTS, make_demo, make_payloads
from tools.pictures.services import SHOW
from tools.pictures.stamp import is_current, stamp
from tools.pictures.terminal import show_terminal

SENTENCES = {
    "opened": "shop-web-1 crashed with exit code 1 after running for 2 h and is up again",
    "crash-looping": "shop-web-1 is crash-looping: crashed 8 times in 58 s with exit code 1",
    "resolved": "Resolved: shop-web-1 is up again after 2 min (8 deaths)",
}
HOSTILE = "<script>alert(1)</script><img src=x onerror=y> &lt;b&gt; \"'`*_ </div><style>"
HOSTILE_CAST = Cast(
    container=f"{HOSTILE} container",
    project=f"{HOSTILE} project",
    service=f"{HOSTILE} service",
    image=f"{HOSTILE} image",
    host=f"{HOSTILE} host",
    route=f"{HOSTILE} route",
    logs=(HOSTILE, "</pre>"),
)
ELEMENTS = {"html", "head", "meta", "title", "style", "body", "div", "span", "br"}
MAIL_ELEMENTS = {"table", "tr", "td", "pre", "br", "a"}
"""What a mail of relay's own consists of."""
TAG = re.compile("<[^>]*>")


class Elements(HTMLParser):
    """Collects the elements, their attributes, and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect an element."""
        self.names.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        """Collect text."""
        self.text += data


PROGRAMS = ("http", "console")
"""They are notified of each crash."""
ALERTING = ("pagerduty", "alertmanager")
"""They group by themselves, so they are notified at once, before the container is up again."""


def show_text(service: str, moment: str) -> str:
    """Return what people read."""
    return unescape(TAG.sub("", SHOW[service](make_payloads(service)[moment])))


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("service", sorted(DESTINATIONS.keys() - {*PROGRAMS, *ALERTING}))
def test_shows_the_sentence_and_the_logs(service: str, moment: str) -> None:
    """As they are in the payload of today, without the escapes of the service.

    What is over shows neither the log, which an earlier message had, nor the command for it.
    """
    text = show_text(service, moment)
    assert SENTENCES[moment] in text
    is_open = moment != "resolved"
    for shown in (*Cast().logs, "docker logs --since 2026-11-24T03:0"):
        assert (shown in text) == is_open
    assert "shop/web:2.4" in text
    assert "2026-11-24" in text
    # Gotify and Apprise show the address itself
    assert "Open grafana.example.com" in text or "Open: https://grafana.example.com/" in text


@pytest.mark.parametrize("service", [*PROGRAMS, *ALERTING])
def test_shows_what_programs_get(service: str) -> None:
    """The first crash, with the logs."""
    text = show_text(service, "opened")
    assert "shop-web-1" in text
    assert "crashed" in text
    assert "03:07:12" in text
    assert all(line in text for line in Cast().logs)


def test_every_type_has_a_picture() -> None:
    """A new type of destination needs one, if people see what it shows."""
    models = DESTINATION_TYPES.models.items()
    seen = {name for name, model in models if model.audience is not Audience.RELAYS}
    assert DESTINATIONS.keys() == SHOW.keys() == seen


@pytest.mark.parametrize("service", DESTINATIONS)
def test_hostile_names_are_text(service: str) -> None:
    """They make no element and no attribute."""
    for body in make_payloads(service, HOSTILE_CAST).values():
        found = Elements(make_page(service, SHOW[service](body)))
        assert found.names <= ELEMENTS | (MAIL_ELEMENTS if service == "email" else set())
        own = {"href"} if service == "email" else set()
        assert found.attributes <= {"charset", "class", "style"} | own
        text = found.text.replace("‹", "<").replace("›", ">")
        assert "<script>alert(1)</script><img src=x onerror=y>" in text


def test_a_terminal_shows_the_demo() -> None:
    """With its colours as classes; hostile names are text."""
    page = make_page("terminal", show_terminal("relay demo", make_demo(HOSTILE_CAST)))
    found = Elements(page)
    assert found.names <= ELEMENTS
    assert "<script>alert(1)</script><img src=x onerror=y>" in found.text
    assert '<span class="red">┃</span>' in page
    text = Elements(make_terminal_page()).text
    assert all(sentence in text for sentence in SENTENCES.values())


@pytest.mark.parametrize(
    ("service", "body"),
    [
        ("slack", b'{"blocks": [{"type": "video"}], "attachments": []}'),
        ("discord", b'{"embeds": [{"url": "https://h/"}]}'),
        ("teams", b'{"attachments": [{"content": {"body": [{"type": "Image"}]}}]}'),
        ("telegram", b'{"text": "", "entities": [], "reply_markup": {"force_reply": true}}'),
        ("ntfy", b'{"title": "", "message": "", "priority": 3, "tags": [], "click": "h"}'),
        ("mattermost", b'{"text": "", "attachments": [{"title": "x"}]}'),
        ("rocketchat", b'{"text": "", "emoji": "x", "attachments": []}'),
        ("googlechat", b'{"cardsV2": [{"card": {"sections": [{"widgets": [{"image": {}}]}]}}]}'),
        ("matrix", b'{"formatted_body": "<img>"}'),
        ("gotify", b'{"title": "", "message": "", "priority": 2, "extras": {"x": 1}}'),
        ("pushover", b'{"title": "", "message": "", "timestamp": 1, "html": 1}'),
        ("apprise", b'{"title": "", "body": "", "type": "info", "attach": "x"}'),
        ("pagerduty", b'{"event_action": "trigger", "images": [], "payload": {}}'),
        ("alertmanager", b'[{"labels": {}, "annotations": {}, "status": {}}]'),
        ("email", b"Subject: x\r\n\r\nno HTML"),
    ],
)
def test_nothing_is_left_out(service: str, body: bytes) -> None:
    """A part that a picture would not show is an error that says where to add it."""
    with pytest.raises(ValueError, match="to be added to tools/pictures"):
        SHOW[service](body)


def test_all_pictures_are_small_and_shown() -> None:
    """Each is on a page, and there are no others."""
    files = {file.stem: file for file in FOLDER.iterdir()}
    assert set(files) == set(PICTURES)
    pages = "".join(page.read_text() for page in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"])
    for name, file in files.items():
        content = file.read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(content) <= MAX_BYTES
        assert f"pictures/{name}.png" in pages


def test_a_picture_knows_its_page(tmp_path: Path) -> None:
    """Made of another page, it is no longer true."""
    file = tmp_path / "picture.png"
    assert not is_current(file, "page")
    file.write_bytes(find_file("ntfy-opened").read_bytes().partition(b"tEXt")[0][:-4] + END)
    stamp(file, "page")
    assert is_current(file, "page")
    assert not is_current(file, "other page")
    assert file.read_bytes().endswith(END)


def test_says_which_are_no_longer_true(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With the command that makes them anew."""
    monkeypatch.setattr("tools.pictures.__main__.FOLDER", tmp_path)
    assert check(["slack-opened"]) == 1
    assert "python -m tools.pictures slack-opened" in capsys.readouterr().out


END = bytes.fromhex("0000000049454e44ae426082")
"""The last chunk of each PNG file."""
