"""A card as plain text, for apps on phones that show no markup.

What looks like an address becomes a link in them all the same: the apps of ntfy and Gotify for
Android leave that to ``Linkify``, which takes anything behind ``://`` and any host whose last part
is a top-level domain (https://developer.android.com/reference/android/util/Patterns); ntfy's web
app takes anything behind ``http://``. With an invisible space in ``://`` and behind every dot
within a word, it is neither.

Names, labels and images are hostile, but stand on one line each, behind a name that is ours. What a
container printed keeps its line breaks: each of its lines begins with a bar.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from relay.core.text import GAP, fit, fit_end, fit_lines
from relay.destinations.common.card import Card

Fit = Callable[[str, int], str]

_BAR = "│ "
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=\.)(?=\w)")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the parts of a text may be, as ``size`` counts."""

    size: Callable[[str], int]
    value: int
    """Each fact."""
    said: int
    """The configuration's text, which stands in place of the facts."""
    inspected: int
    """All inspect fields together, with their names."""
    printed: Mapping[str, int]
    """All that was printed of each kind, by its title."""
    notes: int
    """The small print."""


def plain(card: Card, limits: Limits) -> str:
    """Everything but the headline, without links; never blank."""
    parts = [
        "\n".join([*_said(card, limits), *_facts(card, limits), *_inspected(card, limits)]),
        *_printed(card, limits),
        _within(" · ".join(card.notes), limits.notes, limits.size, fit),
    ]
    return "\n\n".join(parts)


def without_links(text: str) -> str:
    """``text`` with a `GAP` wherever an app would else find a link."""
    return _ADDRESS.sub(GAP, text)


def _said(card: Card, limits: Limits) -> list[str]:
    return [_within(card.said, limits.said, limits.size, fit_lines)] if card.said else []


def _facts(card: Card, limits: Limits) -> list[str]:
    # the time is last: a phone's lock screen shows the first lines, and has a time of its own
    facts = [*card.facts, ("Time", card.time)]
    return [f"{name}: {_within(value, limits.value, limits.size, fit)}" for name, value in facts]


def _inspected(card: Card, limits: Limits) -> list[str]:
    each = limits.inspected // max(1, len(card.inspected)) - 2
    lines = (f"{fit(path, each // 2)}: {value}" for path, value in card.inspected)
    return [_within(line, each, limits.size, fit) for line in lines]


def _printed(card: Card, limits: Limits) -> list[str]:
    return [
        f"{title}:\n{_within(text, limits.printed[title], limits.size, _barred)}"
        for title, text in card.printed
    ]


def _barred(text: str, limit: int) -> str:
    """The end of it."""
    return "\n".join(f"{_BAR}{line}" for line in fit_end(text, limit).split("\n"))


def _within(text: str, limit: int, size: Callable[[str], int], fit: Fit) -> str:
    """``text`` without links, as ``fit`` cuts it, in at most ``limit``, which is at least 20."""
    room = limit
    while (length := size(shown := without_links(fit(text, room)))) > limit:
        room = room * limit // length
    return shown
