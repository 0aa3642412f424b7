"""The facts of a message: what it says by name and value, below its headline."""

from relay.core.event import Event
from relay.core.incident import IncidentReport, Status
from relay.destinations.common.event_text import (
    describe_host,
    describe_image,
    find_changes,
    find_container,
    find_error,
    find_reclaimed,
)
from relay.destinations.common.exit_code import describe_exit_code

_FACTS_OF_PROBLEM = ("Exit code", "Cause", "Error")
"""The facts that are left out of a message about an incident that is over."""


def list_facts(event: Event) -> list[tuple[str, str]]:
    """Return the most important facts of an event."""
    labels = event.actor.attributes
    compose = [labels.get(f"com.docker.compose.{part}") for part in ("project", "service")]
    known = [
        ("Host", describe_host(event.host, event.engine)),
        *((change.name, change.values) for change in find_changes(event)),
        ("Container", find_container(event)),
        ("Reclaimed", find_reclaimed(event)),
        ("Error", find_error(event)),
        ("Image", describe_image(event.actor.image or "")),
        ("Compose service", " / ".join(part for part in compose if part)),
        ("Swarm service", labels.get("com.docker.swarm.service.name")),
        ("Exit code", None if event.exit_code is None else describe_exit_code(event.exit_code)),
        ("Cause", event.cause),
    ]
    return [(name, value) for name, value in known if value]


def list_incident_facts(last: Event, report: IncidentReport) -> list[tuple[str, str]]:
    """Return the facts of an incident, whose last problem is ``last``, that still hold."""
    facts = list_facts(last)
    if report.status is Status.RESOLVED:
        return [(name, value) for name, value in facts if name not in _FACTS_OF_PROBLEM]
    return facts
