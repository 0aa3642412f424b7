"""Events and unmet conditions in words, as `relay explain` and `relay test` print them.

Names come from containers and images, which anybody can name: all that does not print is escaped.
"""

from relay.core.event import Event
from relay.core.text import escape_unprintable, truncate
from relay.routing.matcher import Condition

NAME_MAX = 60
"""Longest name of an actor, in UTF-16 units."""


def describe_event(event: Event) -> str:
    """Return what happened, as in ``container die 'web' (exit_code 3, cause crashed)``."""
    name = truncate(event.actor.name or "", NAME_MAX)
    summary = f"{escape_unprintable(event.type)} {escape_unprintable(event.action)} {name!r}"
    facts = {"exit_code": event.exit_code, "cause": event.cause, "health": event.health}
    details = ", ".join(
        f"{key} {escape_unprintable(str(value))}"
        for key, value in facts.items()
        if value is not None
    )
    return f"{summary} ({details})" if details else summary


def describe_mismatch(condition: Condition, event: Event) -> str:
    """Return how an event misses a condition, as in ``cause: wanted 'oom', found 'crashed'``."""
    return (
        f"{condition.path}: wanted {condition.expected}, found {condition.describe_actual(event)}"
    )
