"""The headline and the lines of a message about incidents and plain events.

`make_title` is the headline that relay gives such a message, `add_status` what relay adds to the
headline of a route, and `list_lines` one line for each incident. The words for one incident are in
`relay.destinations.common.incident_line`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import NamedTuple

from msgspec.structs import replace

from relay.core.event import Event
from relay.core.incident import IncidentReport, Problem, Resolution, Status, Update, UpdateReason
from relay.core.notification import Notification
from relay.core.severity import Severity
from relay.core.text import truncate_or_blank, utf16_length
from relay.core.zone import TimeZone
from relay.destinations.common.event_text import describe_event, describe_host
from relay.destinations.common.incident_line import (
    Length,
    describe_incident,
    describe_lasting_problem,
    describe_loop,
    describe_recovery,
    find_kind,
    find_lasting,
    format_span,
    has_given_up,
    merge_pieces,
    name_error,
    name_piece,
    name_subject,
    own,
)
from relay.destinations.common.pieces import Escapes, Piece, PieceKind, Pieces, fit, join

MAX_LINES = 20
"""How many lines a message has, at most: services add markup to each of their pieces."""

MAX_FULL_LINES = 3
"""If there are more incidents, their lines are shorter."""

MAX_NAMES = 8
"""How many names a headline has, at most."""

OTHER_NAME_MAX = 30
"""The UTF-16 units of each name of events that have no line."""

RESOLVED_EMOJI = "🟢"
EMOJIS = {Severity.CRITICAL: "🔴", Severity.WARNING: "🟠", Severity.INFO: "🔵"}

_OVERFLOW = "Too many incidents: a new problem is reported once, and its end is not"

# What plain events are called in a count. Other actions are called by the engine's own word.
_ACTIONS = {
    "attach": "attached to",
    "commit": "committed",
    "connect": "connected",
    "create": "created",
    "delete": "deleted",
    "destroy": "removed",
    "die": "ended",
    "disconnect": "disconnected",
    "exec_create": "commands prepared",
    "exec_die": "commands ended",
    "exec_start": "commands started",
    "health_status": "health reports",
    "kill": "sent a signal",
    "oom": "out of memory",
    "other": "other events",
    "pause": "paused",
    "pull": "pulled",
    "push": "pushed",
    "remove": "removed",
    "rename": "renamed",
    "restart": "restarted",
    "start": "started",
    "start_failed": "could not start",
    "stop": "stopped",
    "tag": "tagged",
    "unpause": "unpaused",
    "untag": "untagged",
    "update": "updated",
}


class Title(NamedTuple):
    """A headline. If it is too long, it says less; then its middle is cut."""

    before: str
    middle: Sequence[Pieces]
    """The same text, shorter and shorter: the first that fits is shown."""
    after: str = ""

    def fit(self, limit: int, escapes: Escapes) -> list[Piece]:
        """Return the headline escaped, in at most ``limit`` UTF-16 units, of which there are 60."""
        before = fit((own(self.before),), limit * 3 // 5, escapes) if self.before else []
        after = fit((own(self.after),), limit // 3, escapes) if self.after else []
        rest = max(1, limit - utf16_length(join(before)) - utf16_length(join(after)))
        for pieces in self.middle[:-1]:
            fitting = fit(pieces, 10 * limit, escapes)
            if utf16_length(join(fitting)) <= rest:
                return [*before, *fitting, *after]
        return [*before, *fit(self.middle[-1], rest, escapes), *after]


def count_incidents(update: Update) -> int:
    """Return how many incidents a message is about."""
    return len(update.incidents) + update.more


def count_plain_events(update: Update) -> int:
    """Return how many events that belong to no incident a message is about."""
    return sum(update.actions.values())


def is_about_one(update: Update) -> bool:
    """Whether a message is about one incident, or one event, and nothing else."""
    return count_incidents(update) + count_plain_events(update) == 1 and not update.overflow


def make_title(notification: Notification, update: Update, zone: TimeZone) -> Title:
    """Return the headline that relay gives a message; times in it are in ``zone``."""
    late = _describe_delay(update, zone)
    if not update.incidents:
        return Title(late + _describe_overflow(update), _describe_plain_group(notification, update))
    firing = [each for each in update.incidents if each.status is Status.FIRING]
    resolved = count_incidents(update) - _count_firing(update)
    others = [f"{resolved:,} resolved"] if resolved and firing else []
    if plain := count_plain_events(update):
        others.append(f"{plain:,} other event{'s' if plain > 1 else ''}")
    after = f" ({', '.join(others)})" if others else ""
    if not firing:
        return Title(f"{late}Resolved: ", _describe_ends(update, zone), after)
    if update.reason is UpdateReason.REMINDER:
        return Title(late, _describe_reminder(update, firing), after)
    again = "Again: " if update.reason is UpdateReason.REOPENED else ""
    return Title(late + again, _describe_problems(update, firing, zone), after)


def add_status(notification: Notification, update: Update, title: Pieces, zone: TimeZone) -> Title:
    """Return the headline of a route with what relay adds: the status, and how many more there are.

    The route's headline is about the first event alone.
    """
    before = _describe_delay(update, zone)
    if notification.status is Status.RESOLVED:
        before += "Resolved: "
    elif update.reason is UpdateReason.REMINDER:
        states = {find_lasting(each) for each in update.incidents}
        before += f"Still {states.pop() if len(states) == 1 else 'open'}: "
    elif update.reason is UpdateReason.REOPENED:
        before += "Again: "
    more = (count_incidents(update) or count_plain_events(update)) - 1
    return Title(before, (title,), f" (+{more:,} more)" if more > 0 else "")


class Line(NamedTuple):
    """A line of a message, not escaped yet."""

    pieces: Pieces
    weight: int = 1
    """How many incidents or plain events it is about."""


def find_headline_incident(update: Update) -> IncidentReport | None:
    """Return the incident whose whole sentence is the headline of `make_title`; None if there is
    none. It is the only one that is open, and the message is no reminder."""
    firing = [each for each in update.incidents if each.status is Status.FIRING]
    is_reminder = update.reason is UpdateReason.REMINDER
    return firing[0] if firing and _count_firing(update) == 1 and not is_reminder else None


def list_lines(
    notification: Notification,
    update: Update,
    zone: TimeZone,
    omitted: IncidentReport | None = None,
) -> list[Line]:
    """Return a line for each incident, the most severe first, and for the plain events.

    There is none for the incident that is ``omitted``.
    """
    lines = [Line((own(_OVERFLOW),), 0)] if update.overflow else []
    places = find_places(notification, update)
    length = Length.FULL if count_incidents(update) <= MAX_FULL_LINES else Length.SHORT
    for report in update.incidents[:MAX_LINES]:
        if report is omitted:
            continue
        sentence = describe_incident(report, update.made_ns, zone, length)
        emoji = _find_emoji(report)
        place = _name_place(report.problem, places)
        lines.append(Line(merge_pieces(own(f"{emoji} "), *sentence, *place)))
    if not update.incidents:
        for event in notification.events:
            place = _name_place(event, places)
            lines.append(Line((own("• "), Piece(PieceKind.FILLED, describe_event(event)), *place)))
        rest = count_plain_events(update) - len(notification.events)
        shown = {event.actor.name for event in notification.events}
        others = [name for name in update.names if name not in shown]
        if others and rest > 0:
            names = ", ".join(truncate_or_blank(name, OTHER_NAME_MAX) for name in others)
            pieces = own(f"• {rest:,} more, also about "), Piece(PieceKind.FILLED, names)
            lines.append(Line(pieces, rest))
    elif plain := count_plain_events(update):
        lines.append(Line(merge_pieces(own("• also "), *_describe_actions(update)), plain))
    return lines


def find_places(notification: Notification, update: Update) -> set[tuple[str, str]]:
    """Return host and engine of each incident that a message lists, else of its events."""
    reports = update.incidents
    places = [each.problem for each in reports] if reports else notification.events
    return {(each.host, each.engine) for each in places}


def fit_lines(lines: Sequence[Line], total: int, limit: int, escapes: Escapes) -> list[Piece]:
    """Return as many lines as there is room for, and how many of ``total`` are not among them.

    They are escaped, and take at most ``limit`` UTF-16 units. The first is there in any case.
    """
    shown: list[Piece] = []
    size = count = 0
    reserved = _size(_more_line(total, escapes))
    for number, line in enumerate(lines[:MAX_LINES]):
        is_last = count + line.weight == total
        free = limit - size - (0 if is_last else reserved)
        pieces = merge_pieces(own("\n"), *line.pieces) if number else line.pieces
        fitting = fit(pieces, max(limit, free + 1), escapes)
        if (length := _size(fitting)) > free:
            if number:
                break
            fitting = fit(pieces, max(1, free), escapes)
            length = _size(fitting)
        shown += fitting
        size += length
        count += line.weight
    missing = total - count
    return [*shown, *_more_line(missing, escapes)] if missing > 0 else shown


def _name_place(of: Problem | Event, places: Set[tuple[str, str]]) -> Pieces:
    """Return where something is, to end its line; empty if everything on the list is there."""
    is_place_itself = isinstance(of, Problem) and of.is_about_host
    if len(places) == 1 or not of.host or is_place_itself:
        return ()
    is_clear = len({host for host, _ in places}) == len(places)
    host = of.host if is_clear else describe_host(of.host, of.engine)
    return own(" · on "), name_piece(host)


def _more_line(count: int, escapes: Escapes) -> list[Piece]:
    text = f"\nand {count:,} more"
    return fit((own(text),), 10 * len(text), escapes)


def _size(pieces: Iterable[Piece]) -> int:
    return utf16_length(join(pieces))


def _count_firing(update: Update) -> int:
    listed = sum(each.status is Status.FIRING for each in update.incidents)
    return listed + update.more - update.more_resolved


def _find_emoji(report: IncidentReport) -> str:
    return RESOLVED_EMOJI if report.status is Status.RESOLVED else EMOJIS[report.severity]


def _describe_delay(update: Update, zone: TimeZone) -> str:
    if update.late_ns is None:
        return ""
    return f"({zone.format_minute(update.made_ns, update.late_ns)}, delayed) "


def _describe_overflow(update: Update) -> str:
    return "Too many incidents: " if update.overflow else ""


def _describe_problems(
    update: Update, firing: Sequence[IncidentReport], zone: TimeZone
) -> list[Pieces]:
    """Return what happened to the incidents that are open, with fewer and fewer names."""
    count = _count_firing(update)
    if count == 1:
        return [describe_incident(firing[0], update.made_ns, zone, length) for length in Length]
    kinds = {find_kind(each.problem) for each in firing}
    nouns = {kind.noun for kind in kinds}
    if len(nouns) > 1:
        return _with_names(update, f"{count:,} problems", firing, count)
    what = kinds.pop().several if len(kinds) == 1 and not update.more else "failed"
    if all(each.reason is UpdateReason.STAYS_DOWN for each in firing):
        what = "stay down"
    elif all(each.crash_looping and not has_given_up(each) for each in firing):
        flap = {"flapping"} == set(map(describe_loop, firing))
        what = "are flapping" if flap else "are crash-looping"
    return _with_names(update, f"{count:,} {nouns.pop()}s {what}", firing, count)


def _describe_ends(update: Update, zone: TimeZone) -> list[Pieces]:
    """Return how incidents that are all over have ended, with fewer and fewer names."""
    reports, count = update.incidents, count_incidents(update)
    if count == 1:
        return [describe_incident(reports[0], update.made_ns, zone, length) for length in Length]
    nouns = {find_kind(each.problem).noun for each in reports}
    if not update.more and nouns == {"host"} and _have_recovered(reports):
        return _with_names(update, f"{count:,} hosts are heard again", reports, count)
    if update.more or nouns != {"container"} or not _have_recovered(reports):
        return _with_names(update, f"{count:,} incidents are over", reports, count)
    are_up = all(describe_recovery(each) == "is up again" for each in reports)
    what = "are up again" if are_up else "are well again"
    return _with_names(update, f"{count:,} containers {what}", reports, count)


def _have_recovered(reports: Iterable[IncidentReport]) -> bool:
    return all(each.resolution is Resolution.RECOVERED for each in reports)


def _describe_reminder(update: Update, firing: Sequence[IncidentReport]) -> list[Pieces]:
    states, count = {find_lasting(each) for each in firing}, _count_firing(update)
    state = states.pop() if len(states) == 1 else "open"
    longest = format_span(update.made_ns - min(each.started_ns for each in firing))
    what = f"Still {state} for {'up to ' if count > 1 else ''}{longest}"
    names = _with_names(update, what, firing, count)
    if count > 1:
        return names
    return [*(merge_pieces(*names[0], *why) for why in _explain_reminder(firing[0])), *names]


def _explain_reminder(report: IncidentReport) -> Iterator[Pieces]:
    """Yield what made a subject as it still is, in parentheses and shorter and shorter."""
    error = name_error(report)
    for length, shown in (*((length, error) for length in Length), (Length.SHORTEST, ())):
        what = describe_lasting_problem(report, length)
        if what or shown:
            yield own(f" ({what}{': ' if what and shown else ''}"), *shown, own(")")


def _with_names(
    update: Update, what: str, reports: Sequence[IncidentReport], count: int
) -> list[Pieces]:
    """Return the group, a text, and the names of the subjects, with fewer and fewer names."""
    # a reminder is about all groups
    is_reminder = update.reason is UpdateReason.REMINDER
    label = [] if is_reminder else _describe_group(update)
    project = "" if is_reminder else (update.group or {}).get("project", "")
    says_hosts = not is_reminder and all(each.problem.is_about_host for each in reports)
    hosts_of = Counter(subject for subject, _ in {(it.subject, it.problem.host) for it in reports})
    choices = []
    for number in range(min(MAX_NAMES, len(reports)), 0, -1):
        named = (
            (
                *((name_piece(each.subject),) if says_hosts else _name_in_project(each, project)),
                *_name_other_host(each, hosts_of),
            )
            for each in reports[:number]
        )
        names = [piece for pieces in named for piece in (own(", "), *pieces)][1:]
        more = f" and {count - number:,} more" if number < count else ""
        choices.append(merge_pieces(*label, own(f"{what}: "), *names, own(more)))
    return choices


def _name_other_host(report: IncidentReport, hosts_of: Mapping[str, int]) -> Pieces:
    """Return what tells a subject from another one with the same name, which is on another host.

    ``hosts_of`` says on how many hosts there are subjects of each name.
    """
    if hosts_of[report.subject] < 2 or not report.problem.host:
        return ()
    return own(" on "), name_piece(report.problem.host)


def _name_in_project(report: IncidentReport, project: str) -> Pieces:
    """Return the name of a subject without the project that Compose begins it with."""
    for joint in "-_":
        short = report.subject.removeprefix(f"{project}{joint}")
        if project and short != report.subject and short.strip():
            return name_subject(replace(report, subject=short))
    return name_subject(report)


def _describe_group(update: Update) -> list[Piece]:
    """Return the name of the group, to stand before what happened in it: its project, and its host
    if the group is of one."""
    fields = update.group or {}
    host = fields.get("host", "").strip()
    others = ("engine", "host")
    values = [value for name, value in fields.items() if name not in others and value.strip()]
    label = fields.get("project") or " / ".join(values) or ("" if host else fields.get("engine"))
    places = [own(" on ") if label else own(""), name_piece(host)] if host else []
    names = [name_piece(label)] if label else []
    return [*names, *places, own(": ")] if names or places else []


def _describe_plain_group(notification: Notification, update: Update) -> list[Pieces]:
    """Return what happened in a group without incidents."""
    count = count_plain_events(update)
    if count <= 1:
        return [(Piece(PieceKind.FILLED, describe_event(notification.events[0])),)]
    label = _describe_group(update) or [own(f"{count:,} events: ")]
    return [
        merge_pieces(*label, *_describe_actions(update)),
        merge_pieces(*_describe_group(update), own(f"{count:,} events")),
    ]


def _describe_actions(update: Update) -> list[Piece]:
    """Return how many plain events of each action there are, as in ``3 started, 3 stopped``."""
    pieces: list[Piece] = []
    for action, count in update.actions.items():
        pieces.append(own(f"{', ' if pieces else ''}{count:,} "))
        word = _ACTIONS.get(action)
        pieces.append(own(word) if word else name_piece(action))
    return pieces
