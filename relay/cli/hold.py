"""What holds something back, in words."""

from relay.cli.tables import format_name
from relay.core.text import truncate
from relay.incidents.held import HeldReason

COMMENT_MAX = 60
"""The longest comment of a silence, in UTF-16 units."""


def format_hold(
    reason: HeldReason, by: int | str | None, period: str = "", comment: str = ""
) -> str:
    """Return what holds something back: ``held: silenced by 3 until 14:00 UTC (deploy, ann)``.

    ``by`` is the number of a silence or the name of a mute interval, and ``comment`` is as
    `format_comment` returns it.
    """
    parts = (f"held: {reason}", "" if by is None else f"by {format_name(str(by))}", period, comment)
    return " ".join(filter(None, parts))


def format_comment(comment: str, by: str) -> str:
    """Return why there is a silence, and who wants it: ``(deploy, ann)``."""
    return f"({truncate(comment, COMMENT_MAX)}, {format_name(by)})"
