"""What a template is filled with: values by names."""

import difflib
from collections.abc import Iterable

NAMES = ("event", "events", "notification", "severity", "headline", "included")
"""What a template may be filled with: see `relay.config.templates.context`."""


class TemplateValues(dict[str, object]):
    """Values by names that relay gives them: one that is mistyped can be told from them."""


def unknown_name(name: str, known: Iterable[str]) -> str:
    """That there is no such name, and which one may be meant."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"there is no {name!r}" + (f" (did you mean {near[0]!r}?)" if near else "")
