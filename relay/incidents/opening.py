"""The opening of an incident: a problem that a route takes, of a subject that has no incident."""

import hashlib

import msgspec

from relay.core.event import Event
from relay.core.severity import Severity
from relay.incidents.enable_label import read_enable_label
from relay.incidents.evidence import Evidence, Fact
from relay.incidents.incident import Incident
from relay.incidents.life import begin, is_loop
from relay.incidents.stored_event import StoredEvent
from relay.incidents.subject import display_name, subject_key


def make_incident_id(route: str, subject: str, event_id: str) -> str:
    """Compute the id of an incident from the route, the subject and the event that opened it."""
    identity = "\0".join((route, subject, event_id)).encode(errors="surrogatepass")
    return "inc_" + hashlib.blake2b(identity, digest_size=16).hexdigest()


class Opening(msgspec.Struct, frozen=True):
    """A problem that a route takes for a destination, with what is derived from it."""

    event: Event
    evidence: Evidence
    stored: StoredEvent
    route: str
    destination: str
    group: str
    severity: Severity


def open_incident(opening: Opening, finishes_ns: tuple[int, ...] = ()) -> Incident:
    """Return the incident that a problem opens.

    ``finishes_ns`` are the earlier times at which the subject ended with exit code 0.
    """
    event, stored = opening.event, opening.stored
    subject = subject_key(event)
    life = begin(opening.evidence, finishes_ns)
    return Incident(
        id=make_incident_id(opening.route, subject, event.id),
        destination=opening.destination,
        subject=subject,
        name=display_name(event),
        route=opening.route,
        opening_route=opening.route,
        group=opening.group,
        started_ns=event.time_ns,
        life=life,
        severity=opening.severity,
        opening_severity=opening.severity,
        first=stored,
        last_event_ns=event.time_ns,
        total=1,
        unreported=1,
        deaths=len(life.failures_ns),
        unhealthy=int(opening.evidence.fact is Fact.UNHEALTHY),
        crash_looping=is_loop(life.failures_ns),
        enable_label=read_enable_label(event),
    )
