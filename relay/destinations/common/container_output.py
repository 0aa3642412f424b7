"""What containers printed: the end of their logs, and of their last failed health check."""

from collections.abc import Callable, Sequence

import msgspec

from relay.core.include import Included
from relay.core.text import escape_unprintable, truncate, truncate_start, utf16_length

LOGS = "Last log lines"
HEALTH = "Last health check"
"""The titles of the two kinds."""

SHARE_MIN = 60
"""The fewest UTF-16 units of the output of one container, if there is output of others too."""


class Output(msgspec.Struct, frozen=True):
    """What containers printed, of one kind."""

    title: str
    """`LOGS` or `HEALTH`."""
    texts: tuple[tuple[str, str], ...]
    """The texts with line breaks, at least one, each with the name of its container. The name is
    empty if it goes without saying."""

    def fit(self, limit: int, escape: Callable[[str], str] = escape_unprintable) -> str:
        """Return the text escaped, in at most ``limit`` UTF-16 units; a long one keeps its end.

        Of several, each has the same share, below the name of its container; if that is less than
        `SHARE_MIN`, only the first is there.
        """
        texts = self.texts if limit >= SHARE_MIN * len(self.texts) else self.texts[:1]
        share, shown = limit // len(texts), []
        for name, text in texts:
            heading = f"{truncate(name, share // 2, escape)}:\n" if name else ""
            heading = heading if share >= SHARE_MIN else ""
            rest = share - utf16_length(heading) - (len(texts) > 1)
            shown.append(heading + truncate_start(text, max(1, rest), escape))
        return "\n".join(shown)


def list_output(containers: Sequence[tuple[str, Included]]) -> list[Output]:
    """Return what containers printed, by kind; none is blank. Each has its name before it."""
    logs = [(name, "\n".join(it.logs or ())) for name, it in containers]
    health = [(name, it.health or "") for name, it in containers]
    kinds = [
        Output(title, tuple((name, text) for name, text in texts if text.strip()))
        for title, texts in ((LOGS, logs), (HEALTH, health))
    ]
    return [each for each in kinds if each.texts]
