"""The URL that a ``link`` template makes: its author says where it leads, values only fill it in.

Values come from anybody who may start a container. So the scheme and the host have to stand outside
of all expressions, and every value is percent-encoded: none can begin a path, a query or a
fragment, or lead to another folder.
"""

import re
from collections.abc import Iterable
from urllib.parse import quote

from relay.config.templates.parts import TemplatePart

LINK_MAX = 1_000
"""Our own limit for a whole link, in characters. Some services have a lower one."""
_HOST_MAX = 253
"""The characters of a host: RFC 1035, section 2.3.4."""
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_SITE = re.compile(
    rf"(?i:https?)://(?P<host>{_LABEL}(?:\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]+))?"
)
_OWN = "/?#:@!$&+,;=%-._~"
"""What stays of the author's words, beside letters and digits. Everything else is percent-encoded,
so no service finds markup in a link, or its end."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?=/|$)", re.IGNORECASE)
"""A part of a path that stands for its own folder or the one above: RFC 3986, section 5.2.4."""


def make_link(parts: Iterable[TemplatePart], limit: int = LINK_MAX) -> str | None:
    """Return the URL of a rendered template; None if the template rendered nothing.

    It consists of letters, digits and `_OWN`. Raises `ValueError` if there is no such URL; the
    message continues a sentence, and contains no value.
    """
    shown = _strip([part for part in parts if part.text])
    if not shown:
        return None
    start, rest = _split_site(shown)
    if any(part.is_fixed and _CONTROL.search(part.text) for part in rest):
        raise ValueError("holds a line break or another control character")
    link = start + "".join(quote(part.text, safe=_OWN if part.is_fixed else "") for part in rest)
    path = re.split(r"[?#]", link, maxsplit=1)[0]
    if _DOTS.search(path, len(start)):
        raise ValueError("has '.' or '..' as a part of its path")
    if len(link) > limit:
        raise ValueError(f"is longer than {limit:,} characters")
    return link


def find_host(link: str) -> str:
    """Return the host of a link that `make_link` made, without its port."""
    found = _SITE.match(link)
    assert found is not None, "it is a link"
    return found["host"]


def _strip(parts: list[TemplatePart]) -> list[TemplatePart]:
    """Return the parts without the author's white space at both ends."""
    for end, strip in ((0, str.lstrip), (-1, str.rstrip)):
        while parts and parts[end].is_fixed:
            if text := strip(parts[end].text):
                parts[end] = parts[end]._replace(text=text)
                break
            del parts[end]
    return parts


def _split_site(parts: list[TemplatePart]) -> tuple[str, list[TemplatePart]]:
    """Return scheme, host and port, which are the author's, and the parts that follow."""
    fixed = 0
    while fixed < len(parts) and parts[fixed].is_fixed:
        fixed += 1
    words, filled = "".join(part.text for part in parts[:fixed]), parts[fixed:]
    found = _SITE.match(words)
    rest = words[found.end() :] if found else ""
    ends = rest[0] in "/?#" if rest else not filled
    if found is None or not ends or len(found["host"]) > _HOST_MAX or not _is_port(found["port"]):
        raise ValueError(
            "is not 'http://' or 'https://', a host and what follows, as in "
            "https://wiki.example.com/{{ event.name }}: scheme and host (in ASCII, without a user) "
            "have to stand outside of all expressions"
        )
    return found[0], [TemplatePart(rest, True), *filled]


def _is_port(digits: str | None) -> bool:
    return digits is None or (len(digits) <= 5 and 0 < int(digits) <= 65_535)
