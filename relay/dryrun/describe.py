"""An event in a few words, for whoever looks at what a configuration makes of it."""

from relay.core.event import Event
from relay.core.text import fit, visible

NAME_MAX = 60


def described(event: Event) -> str:
    """What happened to whom, and what is known of it: of unknown origin, yet printable."""
    facts = {"exit_code": event.exit_code, "cause": event.cause, "health": event.health}
    known = ", ".join(
        f"{key} {visible(str(value))}" for key, value in facts.items() if value is not None
    )
    return happened(event) + (f" ({known})" if known else "")


def happened(event: Event) -> str:
    """What happened to whom."""
    name = fit(event.actor.name or "", NAME_MAX)
    return f"{visible(event.type)} {visible(event.action)} {name!r}"
