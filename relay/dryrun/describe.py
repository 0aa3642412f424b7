"""An event in a few words, for whoever looks at what a configuration makes of it."""

from relay.core.event import Event
from relay.core.text import escape_unprintable, truncate

NAME_MAX = 60


def describe_event(event: Event) -> str:
    """What happened to whom, and what is known of it: of unknown origin, yet printable."""
    facts = {"exit_code": event.exit_code, "cause": event.cause, "health": event.health}
    known = ", ".join(
        f"{key} {escape_unprintable(str(value))}"
        for key, value in facts.items()
        if value is not None
    )
    return happened(event) + (f" ({known})" if known else "")


def happened(event: Event) -> str:
    """What happened to whom."""
    name = truncate(event.actor.name or "", NAME_MAX)
    return f"{escape_unprintable(event.type)} {escape_unprintable(event.action)} {name!r}"
