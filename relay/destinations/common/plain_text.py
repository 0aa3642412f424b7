"""Renders a card as plain text, for apps on phones that show no markup.

Such apps still turn addresses into links. The apps of ntfy and Gotify for Android use ``Linkify``,
which links anything after ``://`` and any host whose last part is a top-level domain
(https://developer.android.com/reference/android/util/Patterns); ntfy's web app links anything
after ``http://``. A zero-width space in ``://`` and after every dot within a word prevents all of
these links. It is inserted only into what others chose, or beside it: links of the configuration
work. It is not inserted into the reference of an image, so that people can copy it. An app may link
the registry in it, an address that people see in full.

Names, labels and images are hostile, but each is on one line, which begins with a name of relay's.
Container output keeps its line breaks: each of its lines begins with a bar.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import msgspec

from relay.core.text import ZERO_WIDTH_SPACE, truncate
from relay.destinations.common.card import Card
from relay.destinations.common.command import is_command
from relay.destinations.common.container_output import Output
from relay.destinations.common.pieces import Piece, PieceKind, join

_BAR = "│ "
_IMAGE = re.compile(r"\w[\w.-]*(?:[:/][\w.-]+)*(?: \(sha256:[0-9a-f]{12}\))?", re.ASCII)
"""An image as `relay.destinations.common.event_text.describe_image` shows it."""
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=\.)(?=\w)")


class TextLimits(msgspec.Struct, frozen=True):
    """The limit of each part of a text, in the unit that ``size`` counts."""

    size: Callable[[str], int]
    value: int
    """Each fact."""
    custom_text: int
    """The text of the configuration, which replaces the facts."""
    inspect: int
    """All inspect fields together, with their paths."""
    output: Mapping[str, int]
    """All output of each kind, by its title."""
    notes: int
    """All notes together."""


def render_plain_text(card: Card, limits: TextLimits, *, with_link: bool = False) -> str:
    """Return everything except the headline; never blank, and without links of others.

    ``with_link``: the link of the configuration is a line of its own.
    """
    lines = []
    if card.body:
        lines.append(_fit_body(card, limits))
    # The time is last: a phone's lock screen shows the first lines, and its own time.
    for name, value in (*card.facts, ("Time", card.time)):
        fits = len(value) <= limits.value
        is_kept = is_command(name) or (fits and is_image(name, value))
        lines.append(f"{name}: {value if is_kept else _fit(value, limits.value, limits)}")
    each = card.share_inspect(limits.inspect) - 2
    lines += [_fit(line, each, limits) for line in card.inspect_lines(each)]
    parts = ["\n".join(lines)]
    for output in card.output:
        parts.append(f"{output.title}:\n{_fit_output(output, limits)}")
    if with_link and card.link:
        parts.append(f"Open: {card.link}")
    parts.append(_fit(" · ".join(card.notes), limits.notes, limits))
    return "\n\n".join(parts)


def is_image(name: str, value: str) -> bool:
    """Whether a fact is the reference of an image, which has to be copied as it is."""
    return name == "Image" and _IMAGE.fullmatch(value) is not None


def break_links(pieces: Sequence[Piece]) -> str:
    """Return the text of pieces; a `ZERO_WIDTH_SPACE` breaks every link except the author's."""
    return join(break_links_in_pieces(pieces))


def break_links_in_pieces(pieces: Sequence[Piece]) -> list[Piece]:
    """Do what `break_links` does, for services that write each kind differently."""
    text = join(pieces)
    kinds = [kind for kind, piece in pieces for _ in piece]
    breaks = [
        found.start()
        for found in _ADDRESS.finditer(text)
        if PieceKind.FILLED in kinds[max(0, found.start() - 1) : found.start() + 1]
    ]
    broken, end = [], 0
    for kind, piece in pieces:
        start, end = end, end + len(piece)
        cuts = [start, *(at for at in breaks if start < at <= end), end]
        parts = (text[one:other] for one, other in pairwise(cuts))
        broken.append(Piece(kind, ZERO_WIDTH_SPACE.join(parts)))
    return broken


def break_all_links(text: str) -> str:
    """Return a text that others chose; a `ZERO_WIDTH_SPACE` breaks every link in it."""
    return _ADDRESS.sub(ZERO_WIDTH_SPACE, text)


def _fit_output(output: Output, limits: TextLimits) -> str:
    """Return container output without links, a bar before each line."""

    def make_text(allowed: int) -> str:
        lines = output.fit(allowed).split("\n")
        return break_all_links("\n".join(f"{_BAR}{line}" for line in lines))

    return _shorten(make_text, limits.output[output.title], limits)


def _fit(text: str, limit: int, limits: TextLimits) -> str:
    """Return ``text`` without links. Its ``limits.size`` is at most ``limit``: see `_shorten`."""
    return _shorten(lambda allowed: break_all_links(truncate(text, allowed)), limit, limits)


def _fit_body(card: Card, limits: TextLimits) -> str:
    """Return the text of the configuration, in which only its own links are links."""
    return _shorten(
        lambda allowed: break_links(card.body_pieces(allowed)), limits.custom_text, limits
    )


def _shorten(make_text: Callable[[int], str], limit: int, limits: TextLimits) -> str:
    """Return what ``make_text`` makes of a length, in at most ``limit`` by ``limits.size``.

    ``limit`` is at least 20. `break_links` lengthens a text, so it is truncated further until the
    result fits.
    """
    allowed = limit
    while (size := limits.size(shown := make_text(allowed))) > limit:
        allowed = allowed * limit // size
    return shown
