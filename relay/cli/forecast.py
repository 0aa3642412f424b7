"""What a destination gets next about an event, or about an incident that there is already.

Names come from others: unprintable characters are escaped, long texts are cut.
"""

from collections.abc import Sequence

from relay.cli.incident_table import (
    NOT_YET,
    SUBJECT_MAX,
    describe_hold,
    describe_last_report,
    describe_state,
    describe_update,
)
from relay.cli.tables import format_duration, format_time
from relay.core.incident import Status
from relay.core.text import truncate
from relay.core.zone import TimeZone
from relay.dryrun.forecast import Forecast
from relay.incidents.enable_label import ENABLE_LABEL
from relay.incidents.held import HeldReason, Hold
from relay.incidents.incident import REMEMBERED_NS
from relay.incidents.life import find_recovery_time
from relay.incidents.policy import Policies, RoutePolicy
from relay.incidents.view import IncidentView

GROUP_MAX = 60
"""Longest name of a group, in UTF-16 units."""


def describe_forecast(
    forecast: Forecast, holds: Sequence[Hold], now_ns: int, zone: TimeZone
) -> str:
    """Return when the event is reported, and with what, if nothing happened before it.

    ``holds`` are what holds it back, in the order of time; ``now_ns`` is when it happens. The text
    is printed right behind the name of the destination.
    """
    if forecast.notification.update is None and not holds:
        return " at once"
    opens = ""
    if forecast.incident is not None:
        subject = truncate(forecast.incident, SUBJECT_MAX)
        opens = f"opens an incident{f' ({subject})' if subject else ''}, "
    with_others = ""
    if forecast.group is not None:
        group = truncate("/".join(filter(None, forecast.group)), GROUP_MAX)
        with_others = f" with {f'others of {group}' if group else 'all others'}"
    if holds:
        return f": {opens}{_describe_holds(holds, with_others, now_ns, zone)}"
    wait = f"in {_format_wait(forecast.wait_ns)}" if forecast.wait_ns else "at once"
    return f": {opens}told {wait}{with_others}"


def _describe_holds(holds: Sequence[Hold], with_others: str, now_ns: int, zone: TimeZone) -> str:
    """Return what holds the event back, and when it is reported after that."""
    parts, is_reported = [], False
    for hold in holds:
        match hold:
            case Hold(reason=HeldReason.FOR, until_ns=int(until_ns)):
                wait = _format_wait(until_ns - now_ns)
                parts.append(f"told after {wait}{with_others} unless it is well before")
                is_reported = True
            case Hold(reason=HeldReason.MUTED, is_final=False):
                end = "always"
                if hold.until_ns is not None:
                    end = f"until {zone.format_minute(hold.until_ns, now_ns)}"
                    end += "" if is_reported else f", then told{with_others}"
                parts.append(f"muted by {hold.interval} {end}")
            case _:
                parts.append(f"not told ({_name_reason(hold)})")
    return ", but ".join(parts)


def _name_reason(hold: Hold) -> str:
    """Return why something is never reported."""
    if hold.reason is HeldReason.OPTED_OUT:
        return f"{hold.reason}: the label {ENABLE_LABEL}"
    return f"{hold.reason} by {hold.interval}" if hold.interval else hold.reason.value


def _format_wait(wait_ns: int) -> str:
    return f"{wait_ns // 1_000_000} ms" if wait_ns < 1e9 else format_duration(wait_ns)


def describe_incident(
    incident: IncidentView, policies: Policies, now_ns: int, zone: TimeZone
) -> str:
    """Return the state of an incident, when it was reported last, and what is reported next.

    ``policies`` are those in force, and ``now_ns`` is the time of relay's clock.
    """
    state, reported = describe_state(incident), describe_last_report(incident, zone)
    hold = None if incident.update is None else describe_hold(incident, zone)
    upcoming = describe_update(incident, now_ns, is_daemon=True)
    if incident.status is Status.RESOLVED:
        until = format_time((incident.ended_ns or now_ns) + REMEMBERED_NS, zone)
        again = f"a problem opens it again until {until}"
        following = f"{hold or upcoming}, or {again}" if upcoming else again
        return f"over: {state}; told: {reported}; next: {following}"
    since = format_time(incident.started_ns, zone)
    if hold is not None:
        before = "" if reported == NOT_YET else f"told: {reported}; "
        return f"open: {state}, since {since}; {before}{hold}"
    upcoming = upcoming or _describe_wait(incident, policies)
    return f"open: {state}, since {since}; told: {reported}; next: {upcoming}"


def _describe_wait(incident: IncidentView, policies: Policies) -> str:
    """Return what is reported next of an open incident if nothing happens to it."""
    route = policies.routes.get((incident.route, incident.destination), RoutePolicy())
    if incident.ending is None:
        recovery_ns = find_recovery_time(incident.longest_spell_ns, route.resolve_after_ns)
        end = f"when well for {format_duration(recovery_ns)}"
    else:
        end = f"when not started for {format_duration(route.resolve_after_ns)}"
    found = [end] if route.send_resolved else []
    if policies.destinations[incident.destination].repeat_interval_ns:
        found.append("the reminder")
    return ", or ".join(found) or "nothing"
