"""Incidents as rows of a table, as pages and as JSON.

Names come from others: unprintable characters are escaped, long texts are cut.
"""

from collections.abc import Iterator, Mapping
from time import time_ns as read_wall_ns

from relay.cli.hold import format_comment, format_hold
from relay.cli.tables import (
    format_count,
    format_due,
    format_duration,
    format_facts,
    format_name,
    format_ordinal,
    format_section,
    format_time,
    time_fields,
)
from relay.core.container_facts import ContainerFacts, container_object
from relay.core.event import format_rfc3339
from relay.core.incident import Condition, Status, UpdateReason, is_flapping
from relay.core.severity import Severity
from relay.core.text import truncate
from relay.core.zone import TimeZone
from relay.destinations.common.container_text import format_memory
from relay.destinations.common.document import event_object
from relay.destinations.common.event_text import describe_event
from relay.incidents.subject import is_about_relay
from relay.incidents.view import IncidentDetails, IncidentView

HEADINGS = ("INCIDENT", "SEVERITY", "SINCE", "SUBJECT", "STATE", "EVENTS", "DESTINATION", "TOLD")

SUBJECT_MAX = 40
"""Longest name of a container in a column, in UTF-16 units."""

NOT_YET = "not yet"
"""An incident was not reported so far."""

SHORT_ID = len("inc_") + 12
"""How much of an id is in a column. `relay incidents show` and `close` take as much."""

_CONDITIONS = {
    Condition.UP: "up",
    Condition.RESTARTING: "restarting",
    Condition.DOWN: "down",
    Condition.UNHEALTHY: "unhealthy",
    Condition.UNKNOWN: "unknown: events may be missing",
}


def format_row(
    incident: IncidentView, now_ns: int, zone: TimeZone, *, is_daemon: bool
) -> tuple[str, ...]:
    """Return the cells under `HEADINGS`; ``is_daemon`` says whether relay runs."""
    return (
        incident.id[:SHORT_ID],
        incident.severity,
        format_time(incident.started_ns, zone),
        truncate(name_subject(incident), SUBJECT_MAX),
        describe_state(incident),
        str(incident.total),
        format_name(incident.destination),
        describe_reports(incident, now_ns, zone, is_daemon=is_daemon),
    )


def name_subject(incident: IncidentView) -> str:
    """Return the name of the subject, at a hub with its host."""
    is_host = is_about_relay(incident.key) and incident.host == incident.subject
    if incident.via is None or is_host:
        return incident.subject
    return f"{incident.subject} on {incident.host}"


def describe_state(incident: IncidentView) -> str:
    """Return how the subject is, or how the incident ended."""
    if incident.status is Status.RESOLVED:
        lasted_ns = (incident.ended_ns or incident.started_ns) - incident.started_ns
        return f"{incident.resolution} after {format_duration(lasted_ns)}"
    state = _CONDITIONS[incident.condition]
    if incident.condition is Condition.DOWN and incident.ending is not None:
        state += f" ({incident.ending})"
    return f"{_describe_loop(incident)}, {state}" if incident.crash_looping else state


def _describe_loop(incident: IncidentView) -> str:
    is_own_subject = is_about_relay(incident.key)
    flaps = is_flapping(incident.deaths, incident.unhealthy, is_own=is_own_subject)
    return "flapping" if flaps else "crash-looping"


def describe_reports(
    incident: IncidentView, now_ns: int, zone: TimeZone, *, is_daemon: bool
) -> str:
    """Return when the incident was reported last, or why it was not, and the next update."""
    last = describe_last_report(incident, zone)
    if incident.update is None:
        return last
    if (hold := describe_hold(incident, zone)) is not None:
        return hold if last == NOT_YET else f"{last}; {_name_update(incident)} {hold}"
    return f"{last}; {describe_update(incident, now_ns, is_daemon=is_daemon)}"


def describe_last_report(incident: IncidentView, zone: TimeZone) -> str:
    """Return when the incident was reported last, or why it was not."""
    if incident.refused:
        return "refused: told again with its next update"
    if incident.message is not None:
        return "queued, not delivered yet"
    if incident.given_up:
        return "given up: told again"
    if incident.update is None and (hold := describe_hold(incident, zone)) is not None:
        return hold
    return NOT_YET if incident.reported_ns is None else format_time(incident.reported_ns, zone)


def describe_hold(incident: IncidentView, zone: TimeZone) -> str | None:
    """Return what holds the incident's update back, or did so with the last one; None if nothing.

    As in ``held: silenced by 3 until 14:00 UTC (deploy, ann)``.
    """
    if incident.held is None:
        return None
    period = comment = ""
    if incident.held_until_ns is not None:
        period = f"until {zone.format_minute(incident.held_until_ns, read_wall_ns())}"
    if incident.silence_by:
        comment = format_comment(incident.silence_comment, incident.silence_by)
    by = incident.mute_interval if incident.silence is None else incident.silence
    return format_hold(incident.held, by, period, comment)


def describe_update(incident: IncidentView, now_ns: int, *, is_daemon: bool) -> str | None:
    """Return the next update, and when it is due; None if there is none."""
    if incident.update is None:
        return None
    return f"{_name_update(incident)} {_next(incident, now_ns, is_daemon)}"


def _name_update(incident: IncidentView) -> str:
    assert incident.update is not None
    if incident.update is UpdateReason.CRASH_LOOPING:
        return _describe_loop(incident)
    return incident.update.value.replace("_", " ")


def _next(incident: IncidentView, now_ns: int, is_daemon: bool) -> str:
    if not is_daemon:
        return "when relay runs"
    if incident.blocked or incident.message is not None:
        return "after the message that waits"
    if incident.due_ns is None:
        return "later"
    return format_due(incident.due_ns, now_ns)


def describe_counts(opened: Mapping[str, Mapping[Severity, int]]) -> str:
    """Return how many incidents are open, as in ``ops 2 critical, 1 warning; pager 2 critical``."""
    return "; ".join(
        f"{format_name(to)} "
        + ", ".join(f"{counts[it]} {it}" for it in reversed(Severity) if counts.get(it))
        for to, counts in sorted(opened.items())
    )


def to_document(incident: IncidentView) -> dict[str, object]:
    """Return an incident for JSON; what a payload also has is under the same name."""
    return {
        "id": incident.id,
        "destination": incident.destination,
        "status": incident.status,
        "state": incident.condition.state,
        "restarting": incident.condition is Condition.RESTARTING,
        "crash_looping": incident.crash_looping,
        "route": incident.route,
        "severity": incident.severity,
        "subject": incident.subject,
        "host": incident.host,
        "group": incident.group,
        **time_fields("started", incident.started_ns),
        **time_fields("last_event", incident.last_event_ns),
        **time_fields("ended", incident.ended_ns),
        "resolution": incident.resolution,
        "total": incident.total,
        "untold": incident.unreported,
        "deaths": incident.deaths,
        "told": incident.message_count,
        **time_fields("told", incident.reported_ns),
        "update": incident.update,
        **time_fields("due", incident.due_ns),
        "message": incident.message,
        "blocked": incident.blocked,
        "refused": incident.refused,
        "given_up": incident.given_up,
        "held": incident.held,
        **time_fields("held_until", incident.held_until_ns),
        "silence": incident.silence,
        "mute_interval": incident.mute_interval,
        **time_fields("unknown_since", incident.unknown_since_ns),
    }


def details_to_document(details: IncidentDetails) -> dict[str, object]:
    """Return everything about an incident for JSON; events are as ``format: json`` has them."""
    return {
        **to_document(details.incident),
        **time_fields("well_since", details.well_since_ns),
        "failures": [format_rfc3339(time_ns) for time_ns in details.failures_ns],
        "first": event_object(details.first),
        "last": None if details.last is None else event_object(details.last),
        **container_object(details.container, (details.last or details.first).ran_ns),
    }


def format_page(
    details: IncidentDetails, now_ns: int, zone: TimeZone, *, is_daemon: bool
) -> Iterator[str]:
    """Yield everything about an incident at one destination as lines of text."""
    incident = details.incident
    yield f"incident {incident.id}"
    group = ", ".join(f"{name} {value}" for name, value in incident.group.items())
    lasted_ns = (incident.ended_ns or now_ns) - incident.started_ns
    yield from format_facts(
        [
            ("destination", incident.destination),
            ("subject", incident.subject),
            ("host", incident.host),
            ("state", describe_state(incident)),
            ("severity", incident.severity),
            ("route", incident.route),
            ("group", group or "everything at this destination"),
            (
                "since",
                f"{format_time(incident.started_ns, zone)}, for {format_duration(lasted_ns)}",
            ),
            ("events", _describe_events(incident)),
            ("failures", str(incident.deaths)),
            ("container", _describe_container(details) or None),
            ("told", describe_reports(incident, now_ns, zone, is_daemon=is_daemon)),
            ("message", incident.message),
        ]
    )
    entries = sorted(_timeline(details), key=lambda entry: entry[0])
    yield from format_section(
        "timeline", [(format_time(time_ns, zone), what) for time_ns, what in entries]
    )


def _describe_container(details: IncidentDetails) -> str:
    """Return what is known of the container, as in ``restart policy always, 12 restarts``."""
    facts, ran_ns = details.container or ContainerFacts(), (details.last or details.first).ran_ns
    count, limit = facts.restart_count, facts.memory_limit
    parts = [
        facts.restart_option and f"restart policy {facts.restart_option}",
        count and format_count(count, "restart", "restarts"),
        limit and f"memory limit {format_memory(limit)}",
        None if ran_ns is None else f"had run for {format_duration(ran_ns)}",
    ]
    return ", ".join(part for part in parts if part)


def _describe_events(incident: IncidentView) -> str:
    if not incident.unreported:
        return str(incident.total)
    return f"{incident.total}, {incident.unreported} of them not told yet"


def _timeline(details: IncidentDetails) -> Iterator[tuple[int, str]]:
    """Yield what happened, with the time of each, as far as the rows know it."""
    incident, first, last = details.incident, details.first, details.last
    yield incident.started_ns, f"opened: {describe_event(first)}"
    described = {first.time_ns, incident.started_ns}
    if last is not None:
        yield last.time_ns, f"last problem: {describe_event(last)}"
        described.add(last.time_ns)
    for time_ns in details.failures_ns:
        if time_ns not in described:
            yield time_ns, _describe_failure(incident)
            described.add(time_ns)
    if incident.last_event_ns not in described:
        yield incident.last_event_ns, f"last event, the {format_ordinal(incident.total)}"
    if details.well_since_ns is not None and incident.ended_ns is None:
        yield details.well_since_ns, "well since then"
    if incident.unknown_since_ns is not None:
        yield incident.unknown_since_ns, "events may be missing from here on"
    if incident.ended_ns is not None:
        yield incident.ended_ns, f"over: {incident.resolution}"
    if incident.reported_ns is not None:
        yield incident.reported_ns, _describe_last_message(incident)
    if incident.update is not None:
        yield from _list_what_comes(incident)


def _list_what_comes(incident: IncidentView) -> Iterator[tuple[int, str]]:
    """Yield when the update is due, or until when it is held back, if that is known."""
    if incident.due_ns is not None:
        yield incident.due_ns, f"to be told: {_name_update(incident)}"
    if incident.held_until_ns is not None:
        yield incident.held_until_ns, f"held until then: {_name_update(incident)}"


def _describe_failure(incident: IncidentView) -> str:
    """Return what a failure was, as far as the sums of all failures show it."""
    if is_about_relay(incident.key):
        return "failed"
    if incident.unhealthy == incident.deaths:
        return "became unhealthy"
    return "died or became unhealthy" if incident.unhealthy else "died"


def _describe_last_message(incident: IncidentView) -> str:
    message = f"told, by the {format_ordinal(incident.message_count)} message about it"
    if incident.refused:
        return f"{message}: the destination refused it, it is a dead letter"
    if incident.given_up:
        return f"{message}: given up, it is a dead letter"
    if incident.message is not None:
        return f"{message}: not delivered yet ({incident.message})"
    return f"{message}: delivered"
