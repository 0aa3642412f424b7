"""What the looks of several services have in common."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

from tools.pictures.markup import Markup, div, join, span

Payload = Mapping[str, Any]

_MARKDOWN = re.compile(
    r"```\n(?P<block>.*?)\n```|`(?P<code>[^`]*)`|\*\*(?P<bold>.+?)\*\*"
    r"|\[(?P<link>[^\]]*)\]\([^)]*\)",
    re.DOTALL,
)
_BLANK_LINES = re.compile(r"\n{2,}")


def post(*children: str) -> Markup:
    """Return a message in a chat, with its author."""
    return div("post", div("avatar", "r"), div("", div("author", "relay"), *children))


def button(text: str) -> Markup:
    """Return a button that opens a link."""
    return span("button", text)


def facts(kind: str, pairs: Mapping[str, str]) -> Markup:
    """Return names and values."""
    shown = (div("", div("plain-name", name), div("text", value)) for name, value in pairs.items())
    return div(kind, *shown)


def markdown(text: str) -> Markup:
    """Return what Mattermost and Rocket.Chat make of Markdown, as far as relay writes it."""
    shown, end, is_block = list[str](), 0, False
    for found in _MARKDOWN.finditer(text):
        before, was_block = text[end : found.start()], is_block
        is_block = found.lastgroup == "block"
        before = before.lstrip("\n") if was_block else before
        shown.append(_BLANK_LINES.sub("\n", before.rstrip("\n") if is_block else before))
        end = found.end()
        match found.lastgroup:
            case "block":
                shown.append(div("output", found["block"]))
            case kind:
                shown.append(span(str(kind), found[str(kind)]))
    return div("text", *shown, text[end:])


def format_time(time_s: float) -> str:
    """Return a time in UTC, to the second."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def check_keys(service: str, found: Mapping[str, object], *known: str) -> None:
    """Raise `ValueError` if there is a key that a picture would not show."""
    if more := found.keys() - set(known):
        raise unknown(service, sorted(more))


def unknown(service: str, part: object) -> ValueError:
    """Return the error about a part that a picture would not show."""
    return ValueError(f"how {service} shows this is to be added to tools/pictures: {part}")


class _Html(HTMLParser):
    """Turns the HTML of a payload into `Markup` of the elements that are known."""

    def __init__(self, service: str, elements: Mapping[str, str]) -> None:
        super().__init__()
        self._service = service
        self._elements = elements
        self.shown: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self._elements:
            raise unknown(self._service, tag)
        self.shown.append(
            Markup("<br>" if tag == "br" else f'<span class="{self._elements[tag]}">')
        )

    def handle_endtag(self, tag: str) -> None:
        self.shown.append(Markup("</span>"))

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def html(service: str, text: str, elements: Mapping[str, str]) -> Markup:
    """Return the HTML of a payload. ``elements`` are those that it may have, with their classes."""
    parser = _Html(service, elements)
    parser.feed(text)
    parser.close()
    return join(*parser.shown)
