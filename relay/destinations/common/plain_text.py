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

from relay.core.text import ZERO_WIDTH_SPACE, truncate, truncate_lines, truncate_start
from relay.destinations.common.card import Card

FitText = Callable[[str, int], str]

_BAR = "│ "
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=\.)(?=\w)")


@dataclass(frozen=True, slots=True)
class TextLimits:
    """How long the parts of a text may be, as ``size`` counts."""

    size: Callable[[str], int]
    value: int
    """Each fact."""
    custom_text: int
    """The configuration's text, which stands in place of the facts."""
    inspect: int
    """All inspect fields together, with their names."""
    output: Mapping[str, int]
    """All that was printed of each kind, by its title."""
    notes: int
    """The small print."""


def render_plain_text(card: Card, limits: TextLimits) -> str:
    """Everything but the headline, without links; never blank."""
    parts = [
        "\n".join(
            [*_custom_text(card, limits), *_facts(card, limits), *_inspect_lines(card, limits)]
        ),
        *_output_sections(card, limits),
        _fit_without_links(" · ".join(card.notes), limits.notes, limits.size, truncate),
    ]
    return "\n\n".join(parts)


def break_links(text: str) -> str:
    """``text`` with a `ZERO_WIDTH_SPACE` wherever an app would else find a link."""
    return _ADDRESS.sub(ZERO_WIDTH_SPACE, text)


def _custom_text(card: Card, limits: TextLimits) -> list[str]:
    return (
        [_fit_without_links(card.body, limits.custom_text, limits.size, truncate_lines)]
        if card.body
        else []
    )


def _facts(card: Card, limits: TextLimits) -> list[str]:
    # the time is last: a phone's lock screen shows the first lines, and has a time of its own
    facts = [*card.facts, ("Time", card.time)]
    return [
        f"{name}: {_fit_without_links(value, limits.value, limits.size, truncate)}"
        for name, value in facts
    ]


def _inspect_lines(card: Card, limits: TextLimits) -> list[str]:
    each = limits.inspect // max(1, len(card.inspect_fields)) - 2
    lines = (f"{truncate(path, each // 2)}: {value}" for path, value in card.inspect_fields)
    return [_fit_without_links(line, each, limits.size, truncate) for line in lines]


def _output_sections(card: Card, limits: TextLimits) -> list[str]:
    return [
        f"{title}:\n{_fit_without_links(text, limits.output[title], limits.size, _fit_with_bars)}"
        for title, text in card.output
    ]


def _fit_with_bars(text: str, limit: int) -> str:
    """The end of it."""
    return "\n".join(f"{_BAR}{line}" for line in truncate_start(text, limit).split("\n"))


def _fit_without_links(text: str, limit: int, size: Callable[[str], int], fit: FitText) -> str:
    """``text`` without links, as ``fit`` cuts it, in at most ``limit``, which is at least 20."""
    room = limit
    while (length := size(shown := break_links(fit(text, room)))) > limit:
        room = room * limit // length
    return shown
