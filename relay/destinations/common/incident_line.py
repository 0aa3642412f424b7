"""One incident in one sentence: what happened, how often, and how its subject is now.

A sentence is made of pieces: names and errors are hostile, everything else is relay's own. Each
name and each error is bounded and on one line, so nothing in it can look like another line.
"""

from enum import IntEnum
from typing import NamedTuple

from relay.core.event import TYPE_RELAY, Cause
from relay.core.incident import (
    Condition,
    IncidentReport,
    Problem,
    Resolution,
    Status,
    UpdateReason,
    is_flapping,
)
from relay.core.text import truncate, truncate_or_blank
from relay.core.zone import TimeZone
from relay.destinations.common.container_text import describe_given_up, format_times
from relay.destinations.common.event_text import SUBJECT_MAX, shorten_error
from relay.destinations.common.exit_code import describe_end
from relay.destinations.common.pieces import Piece, PieceKind, Pieces

ERROR_MAX = 110
"""The UTF-16 units of an error."""

_SECOND_NS = 10**9
_UNITS = (("s", 1, 120), ("min", 60, 7_200), ("h", 3_600, 72 * 3_600))
"""Units with their seconds, and the number of seconds from which on the next one is used."""


class Length(IntEnum):
    """How much a sentence says. Each step leaves out what is least needed."""

    FULL = 0
    SHORT = 1
    """Without what an exit code means, and how long the container had run."""
    SHORTEST = 2
    """Also without why the engine does not restart it."""


class Kind(NamedTuple):
    """The words for one kind of problem. Most of them follow the name of the subject."""

    once: str
    repeated: str
    """It is followed by how often."""
    several: str
    """What several subjects did."""
    recovered: str = "is up again"
    """How the subject is when the problem is over."""
    lasting: str = "down"
    """How the subject is for as long as it has not started again."""
    noun: str = "container"
    is_state: bool = False
    """Whether ``once`` says how the subject is, until that changes."""


_UNHEALTHY = Kind(
    once="is unhealthy",
    repeated="became unhealthy",
    several="became unhealthy",
    recovered="is healthy again",
    is_state=True,
)
_ENDED = Kind("ended", "ended", "ended")
_OOM = "ran out of memory (OOM)"
_OUT_OF_MEMORY = Kind(_OOM, _OOM, "ran out of memory", recovered="is well again")
_SERVICE_FAILED = Kind(
    once="cannot start its tasks",
    repeated="could not start its tasks",
    several="cannot start their tasks",
    recovered="starts its tasks again",
    noun="service",
    is_state=True,
)
_KINDS = {
    ("die", Cause.CRASHED): Kind("crashed", "crashed", "crashed"),
    ("die", Cause.OOM): Kind(f"{_OOM} and ended", f"{_OOM} and ended", "ran out of memory"),
    ("health_status", None): _UNHEALTHY,
    ("oom", None): _OUT_OF_MEMORY,
    ("start_failed", None): Kind(
        "cannot be started", "could not be started", "cannot be started", is_state=True
    ),
    ("engine_lost", None): Kind(
        once="is out of reach",
        repeated="was out of reach",
        several="are out of reach",
        recovered="is back",
        lasting="out of reach",
        noun="engine",
        is_state=True,
    ),
    ("destination_failing", None): Kind(
        once="takes no messages",
        repeated="took no messages",
        several="take no messages",
        recovered="takes messages again",
        lasting="taking no messages",
        noun="destination",
        is_state=True,
    ),
}
_HOST_LOST = Kind(
    once="is silent",
    repeated="was silent",
    several="are silent",
    recovered="is heard again",
    lasting="silent",
    noun="host",
    is_state=True,
)
_ENDS = {
    Resolution.FINISHED: "finished with exit code 0",
    Resolution.STOPPED: "was stopped",
    Resolution.REMOVED: "was removed",
    Resolution.UNWATCHED: "is no longer watched",
    Resolution.CLOSED: "had its incident closed by hand",
}


def find_kind(problem: Problem) -> Kind:
    """Return the words for a problem."""
    if problem.type == "service":
        return _SERVICE_FAILED
    if problem.is_about_host:
        return _HOST_LOST
    cause = problem.cause if problem.action == "die" else None
    return _KINDS.get((problem.action, cause), _ENDED)


def own(text: str) -> Piece:
    """Return words of relay's own."""
    return Piece(PieceKind.OWN, text)


def name_piece(text: str) -> Piece:
    """Return the name of something: on one line, bounded and never blank."""
    return Piece(PieceKind.FILLED, truncate_or_blank(text, SUBJECT_MAX))


def name_subject(report: IncidentReport) -> Pieces:
    """Return the name of an incident's subject; what is no container has its kind before it."""
    noun, name = find_kind(report.problem).noun, name_piece(report.subject)
    return (name,) if noun == "container" else (own(f"{noun} "), name)


def format_span(span_ns: int) -> str:
    """Return a duration in one unit, as people say it: ``3 s``, ``62 min``, ``24 h``, ``8 d``."""
    span_s = max(1, round(span_ns / _SECOND_NS))
    for unit, size_s, below_s in _UNITS:
        if span_s < below_s:
            return f"{round(span_s / size_s)} {unit}"
    return f"{round(span_s / 86_400)} d"


def describe_loop(report: IncidentReport) -> str:
    """Return what an incident that loops is: ``crash-looping``, or ``flapping`` without deaths."""
    is_own = report.problem.type == TYPE_RELAY
    flaps = is_flapping(report.deaths, report.unhealthy, is_own=is_own)
    return "flapping" if flaps else "crash-looping"


def find_lasting(report: IncidentReport) -> str:
    """Return how the subject of an open incident is, as in ``Still down for 24 h``."""
    condition = report.condition
    if condition is Condition.UNHEALTHY:
        return "unhealthy"
    if condition is Condition.UNKNOWN:
        return "open"
    if condition is not Condition.DOWN and report.crash_looping:
        return describe_loop(report)
    return "not stable" if condition is Condition.UP else find_kind(report.problem).lasting


def describe_incident(
    report: IncidentReport,
    now_ns: int,
    zone: TimeZone,
    length: Length = Length.FULL,
) -> Pieces:
    """Return what a message says of an incident, on one line and without a full stop.

    As in ``web-1 is crash-looping: crashed 5 times in 3 s with exit code 3``. ``now_ns`` is the
    time of the message, and ``zone`` the time zone of its readers.
    """
    if report.status is Status.RESOLVED:
        rest = _describe_end(report, length)
    elif report.reason is UpdateReason.REMINDER:
        rest = _describe_reminder(report, now_ns, zone, length)
    elif report.reason is UpdateReason.STAYS_DOWN:
        since = zone.format_minute(report.problem.time_ns, now_ns)
        what = _describe_problem(report, length, with_span=False)
        why = _explain_state(report, length, "; ")
        rest = f" stays down: {what}, not started since {since}{why}"
    else:
        rest = _describe_open(report, length)
    unknown = _describe_unknown(report, now_ns, zone)
    error = name_error(report)
    in_parentheses = (own(" ("), *error, own(")")) if error else ()
    return merge_pieces(*name_subject(report), own(rest), *in_parentheses, own(unknown))


def describe_lasting_problem(report: IncidentReport, length: Length = Length.FULL) -> str:
    """Return what made a subject as it still is; empty if `find_lasting` says it.

    As in ``crashed with exit code 3; it has no restart policy``.
    """
    kind = find_kind(report.problem)
    is_sick = kind is _UNHEALTHY and report.condition is Condition.UNHEALTHY
    if (is_sick or kind.noun in ("engine", "destination", "host")) and _count(report) == 1:
        return ""
    what = _describe_problem(report, length, with_span=False, is_over=True)
    return what + _explain_state(report, length, "; ")


def name_error(report: IncidentReport) -> Pieces:
    """Return why it cannot be started or why relay lost it; nothing if it is over."""
    error = report.problem.error
    if not error.strip() or report.status is Status.RESOLVED:
        return ()
    return (Piece(PieceKind.FILLED, truncate(shorten_error(error), ERROR_MAX)),)


def has_given_up(report: IncidentReport) -> bool:
    """Whether the sentence of an incident says why its engine does not restart it."""
    return bool(_explain_state(report, Length.FULL, " "))


def _describe_open(report: IncidentReport, length: Length) -> str:
    """Return what happened in an incident that is open, and how its subject is."""
    state, why = _find_state(report), _explain_state(report, length, ": ")
    if report.crash_looping and not has_given_up(report):
        is_implied = report.condition is Condition.RESTARTING
        ending = f"; it {state}" if state and not is_implied else ""
        return f" is {describe_loop(report)}: {_describe_problem(report, length)}{ending}"
    worse = " got worse: it" if report.reason is UpdateReason.WORSE else ""
    what = _describe_problem(report, length, is_over=bool(state))
    joint = "; it" if " and " in what else " and"
    return f"{worse} {what}{joint} {state}{why}" if state else f"{worse} {what}"


def merge_pieces(*pieces: Piece) -> Pieces:
    """Return the pieces without empty ones, and with relay's own words joined to one piece."""
    merged: list[Piece] = []
    for piece in pieces:
        is_own = piece.kind is PieceKind.OWN
        if merged and is_own and merged[-1].kind is PieceKind.OWN:
            merged[-1] = own(merged[-1].text + piece.text)
        elif piece.text:
            merged.append(piece)
    return tuple(merged)


def _describe_problem(
    report: IncidentReport, length: Length, *, with_span: bool = True, is_over: bool = False
) -> str:
    """Return what happened and how often, as in ``crashed 5 times in 3 s with exit code 3``.

    If it happened once, it says how long the container had run before.

    ``is_over`` is whether a state, such as unhealthy, has changed since.
    """
    problem, kind = report.problem, find_kind(report.problem)
    times = _count(report)
    is_mixed = report.crash_looping and 0 < report.unhealthy < report.deaths
    if is_mixed:
        died = format_times(report.deaths - report.unhealthy)
        what = f"died {died} and became unhealthy {format_times(report.unhealthy)}"
    elif times > 1:
        what = f"{kind.repeated if problem.is_like_first else 'died'} {format_times(times)}"
    elif is_over:
        what = "was unhealthy" if kind is _UNHEALTHY else kind.repeated
    else:
        what = kind.once
    is_repeated = is_mixed or times > 1
    if with_span and is_repeated:
        what += _format_within(report)
    if problem.exit_code is not None:
        is_short = length > Length.FULL
        code = problem.exit_code
        last = ", last" if is_repeated and (is_mixed or not problem.has_first_code) else ""
        what += f"{last} with exit code {code if is_short else describe_end(code, problem.cause)}"
    if with_span and not is_repeated and problem.ran_ns is not None and length is Length.FULL:
        what += f" after running for {format_span(problem.ran_ns)}"
    return what


def _explain_state(report: IncidentReport, length: Length, joint: str) -> str:
    """Return, after ``joint``, why the engine does not restart what is down; empty if it may."""
    is_down = report.condition is Condition.DOWN and not find_kind(report.problem).is_state
    if not report.given_up or not is_down or length is Length.SHORTEST:
        return ""
    why = describe_given_up(report.container)
    return f"{joint}{why}" if why else ""


def _count(report: IncidentReport) -> int:
    """Return how often the last problem of an incident happened, as far as that is known."""
    action = report.problem.action
    if action == "health_status":
        return report.unhealthy
    if action == "oom":  # no death, so it is not counted by itself
        return 1 if report.deaths else report.total
    return 1 if action == "start_failed" else report.deaths - report.unhealthy


def _format_within(report: IncidentReport) -> str:
    """Return the time from the first problem to the last, as in `` in 3 s``."""
    problem = report.problem
    span_ns = problem.time_ns - report.started_ns
    # the first ends with exit code 0 are before the incident, which the third one opens
    return "" if span_ns <= 0 or problem.cause is Cause.FINISHED else f" in {format_span(span_ns)}"


def _find_state(report: IncidentReport) -> str:
    """Return how the subject is now, to follow "and"; empty if what happened says so already."""
    kind = find_kind(report.problem)
    match report.condition:
        case Condition.UP:
            return "is up" if kind in (_UNHEALTHY, _OUT_OF_MEMORY) else kind.recovered
        case Condition.UNHEALTHY:
            return "" if kind is _UNHEALTHY and _count(report) == 1 else "is unhealthy"
        case Condition.DOWN | Condition.RESTARTING if kind.is_state and kind is not _UNHEALTHY:
            return ""
        case Condition.DOWN:
            return "is down"
        case Condition.RESTARTING:
            return "is restarting"
        case Condition.UNKNOWN:
            return ""


def _describe_unknown(report: IncidentReport, now_ns: int, zone: TimeZone) -> str:
    """Return since when events may be missing, so that nobody takes an old state for the present.

    It is empty if none are missing.
    """
    since_ns = report.unknown_since_ns
    if since_ns is None or report.status is Status.RESOLVED:
        return ""
    return f"; how it is now is not known since {zone.format_minute(since_ns, now_ns)}"


def _describe_end(report: IncidentReport, length: Length) -> str:
    """Return how an incident ended; also what happened, if no earlier message said so.

    As in ``came and went: crashed with exit code 3; it is up again after 60 s``.
    """
    span = format_span((report.ended_ns or report.started_ns) - report.started_ns)
    resolution, came = report.resolution or Resolution.RECOVERED, ""
    if resolution is Resolution.RECOVERED:
        came = " came and went:"
        end = f"{describe_recovery(report)} after {span}"
    else:
        end = f"{_ENDS[resolution]}, {span} after it first failed"
    if report.notified_before:
        return f" {end}{_format_total(report)}"
    return f"{came} {_describe_problem(report, length, is_over=True)}; it {end}"


def describe_recovery(report: IncidentReport) -> str:
    """Return how the subject of an incident is when it is well again, as in ``is up again``."""
    is_sick_only = report.unhealthy == report.deaths > 0
    return (_UNHEALTHY if is_sick_only else find_kind(report.problem)).recovered


def _format_total(report: IncidentReport) -> str:
    """Return how often it failed, as in `` (69 deaths)``; empty if that was once."""
    if report.problem.type == TYPE_RELAY:
        return f" ({report.deaths:,} times)" if report.deaths > 1 else ""
    deaths, sick = report.deaths - report.unhealthy, report.unhealthy
    if not report.deaths and report.total > 1:
        return f" ({report.total:,} times out of memory)"
    parts = [f"{deaths:,} deaths"] if deaths > 1 else []
    parts += [f"{sick:,} times unhealthy"] if sick > 1 else []
    return f" ({', '.join(parts)})" if parts else ""


def _describe_reminder(report: IncidentReport, now_ns: int, zone: TimeZone, length: Length) -> str:
    span = format_span(now_ns - report.started_ns)
    since = zone.format_minute(report.started_ns, now_ns)
    what = describe_lasting_problem(report, length)
    rest = f": {what}" if what else ""
    return f" is still {find_lasting(report)} after {span} (since {since}){rest}"
