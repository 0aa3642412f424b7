"""Renders a card as plain text, for apps on phones that show no markup.

Such apps still turn addresses into links. The apps of ntfy and Gotify for Android use ``Linkify``,
which links anything after ``://`` and any host whose last part is a top-level domain
(https://developer.android.com/reference/android/util/Patterns); ntfy's web app links anything
after ``http://``. A zero-width space in ``://`` and after every dot within a word prevents all of
these links.

Names, labels and images are hostile, but each is on one line, which begins with a name of relay's.
Container output keeps its line breaks: each of its lines begins with a bar.
"""

import re
from collections.abc import Callable, Mapping

import msgspec

from relay.core.text import ZERO_WIDTH_SPACE, truncate, truncate_lines, truncate_start
from relay.destinations.common.card import Card

_FitText = Callable[[str, int], str]

_BAR = "│ "
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


def render_plain_text(card: Card, limits: TextLimits) -> str:
    """Return everything except the headline, without links; never blank."""
    lines = []
    if card.body:
        lines.append(_fit(card.body, limits.custom_text, limits, truncate_lines))
    # The time is last: a phone's lock screen shows the first lines, and its own time.
    for name, value in (*card.facts, ("Time", card.time)):
        lines.append(f"{name}: {_fit(value, limits.value, limits)}")
    each = card.share_inspect(limits.inspect) - 2
    lines += [_fit(line, each, limits) for line in card.inspect_lines(each)]
    parts = ["\n".join(lines)]
    for title, text in card.output:
        parts.append(f"{title}:\n{_fit(text, limits.output[title], limits, _truncate_with_bars)}")
    parts.append(_fit(" · ".join(card.notes), limits.notes, limits))
    return "\n\n".join(parts)


def break_links(text: str) -> str:
    """Insert a `ZERO_WIDTH_SPACE` wherever an app would find a link."""
    return _ADDRESS.sub(ZERO_WIDTH_SPACE, text)


def _truncate_with_bars(text: str, limit: int) -> str:
    """Return the end of a text, a bar before each line."""
    return "\n".join(f"{_BAR}{line}" for line in truncate_start(text, limit).split("\n"))


def _fit(text: str, limit: int, limits: TextLimits, truncate_text: _FitText = truncate) -> str:
    """Return ``text`` without links. Its ``limits.size`` is at most ``limit``.

    ``limit`` is at least 20. `break_links` lengthens a text, so it is truncated further until the
    result fits.
    """
    allowed = limit
    while (size := limits.size(shown := break_links(truncate_text(text, allowed)))) > limit:
        allowed = allowed * limit // size
    return shown
