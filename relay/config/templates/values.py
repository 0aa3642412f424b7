"""The names that a template may use."""

from collections.abc import Iterable

NAMES = ("event", "events", "notification", "severity", "headline", "included")
"""The top-level names of a context: see `relay.config.templates.context`."""


class TemplateValues(dict[str, object]):
    """Values with names that relay defines, so that errors can suggest the right name."""


def unknown_name(name: str, known: Iterable[str]) -> str:
    """Return a message that there is no such name, with the most similar known one."""
    import difflib  # noqa: PLC0415 - 130 KB, for a template with a mistake

    similar = difflib.get_close_matches(name, known, n=1)
    return f"there is no {name!r}" + (f" (did you mean {similar[0]!r}?)" if similar else "")
