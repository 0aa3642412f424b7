"""The content of a message for people, before a service formats and truncates it.

A `Card` is the whole content: headline, lines, facts, container output, link and notes.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import msgspec

from relay.config.templates.link import find_host
from relay.core.event import Event, Origin, format_rfc3339, format_second
from relay.core.incident import IncidentReport, Status, Update, UpdateReason
from relay.core.include import Included
from relay.core.notification import Notification, resolve_severity
from relay.core.severity import Severity
from relay.core.text import escape_unprintable, truncate, truncate_or_blank, utf16_length
from relay.core.zone import UTC_ZONE, TimeZone
from relay.destinations.common.command import is_command
from relay.destinations.common.container_output import LOGS, Output, list_output
from relay.destinations.common.event_text import describe_host
from relay.destinations.common.facts import (
    list_commands,
    list_facts,
    list_further_facts,
    list_incident_facts,
)
from relay.destinations.common.headline import headline_pieces
from relay.destinations.common.incident_line import describe_incident, name_piece, own
from relay.destinations.common.included import list_included, list_inspect_fields
from relay.destinations.common.pieces import (
    PLAIN,
    Escapes,
    Piece,
    PieceKind,
    Pieces,
    fit,
    join,
    to_line,
)
from relay.destinations.common.update_text import (
    EMOJIS,
    MAX_FULL_LINES,
    RESOLVED_EMOJI,
    Line,
    add_status,
    count_incidents,
    count_plain_events,
    find_headline_incident,
    find_places,
    fit_lines,
    is_about_one,
    list_lines,
)

EVENT_ID_MAX = len("evt_") + 12
"""How much of an event's id is shown: enough to find it in the log."""
LINK_HOST_MAX = 60
"""The UTF-16 units of a host in the name of a link."""

_COLOURS = {
    Severity.CRITICAL: "#d0021b",
    Severity.WARNING: "#f5a623",
    Severity.INFO: "#439fe0",
}
_COLOUR_RESOLVED = "#2eb886"
_LASTING = (UpdateReason.REMINDER, UpdateReason.STAYS_DOWN)
"""The reasons of messages that only say that something lasts."""
_ORIGINS = {
    Origin.LIVE: "",
    Origin.REPLAYED: "replayed from the engine's history",
    Origin.INFERRED: "found by comparing containers: the engine sent no event",
}


class Opening(NamedTuple):
    """What opened an incident, or the event of a message that is about events alone.

    That of an incident never changes, so keys and labels at services are made of it.
    """

    route: str
    event: Event
    severity: Severity


class Card(msgspec.Struct, frozen=True, dict=True):
    """Headline, facts, container output and notes. Any of these texts may be hostile."""

    notification: Notification
    custom_title: Pieces = ()
    """The headline of the configuration."""
    custom_text: Pieces = ()
    """The text of the configuration, which replaces the facts; it may have line breaks."""
    title_has_status: bool = False
    """Whether the headline of the configuration itself says how the incidents are."""
    text_has_incidents: bool = False
    """Whether the text of the configuration itself lists the incidents."""
    link: str | None = None
    """The link of the configuration, which leads where its author wrote (see `make_link`)."""
    link_fault: str = ""
    """Why there is no link although the configuration has one."""
    zone: TimeZone = UTC_ZONE
    """The time zone of its readers."""

    @property
    def event(self) -> Event:
        """The first event of the notification."""
        return self.notification.events[0]

    @property
    def incident(self) -> IncidentReport | None:
        """The first incident that the notification is about; None if it is about events alone."""
        update = self.notification.update
        return update.incidents[0] if update is not None and update.incidents else None

    @property
    def opening(self) -> Opening:
        """What opened the `incident`, for services with keys or labels; else the `event`."""
        report = self.incident
        if report is None or report.opening_event is None:
            return Opening(self.notification.route, self.event, self.severity)
        severity = report.opening_severity or report.severity
        return Opening(report.opening_route, report.opening_event, severity)

    @property
    def host(self) -> str:
        """The host of everything that the message reports; empty if there are several."""
        update = self.notification.update
        if update is None:
            return self.event.host
        hosts = {host for host, _ in find_places(self.notification, update)}
        return hosts.pop() if len(hosts) == 1 else ""

    @property
    def time_ns(self) -> int:
        """The time of the event. For incidents it is the time of the last problem; if they are
        over, the time of the last end; if the message only says that they last, its own time."""
        update = self.notification.update
        if update is None or not update.incidents:
            return self.event.time_ns
        if self.is_resolved:
            return max(each.ended_ns or update.made_ns for each in update.incidents)
        if update.reason in _LASTING:
            return update.made_ns
        firing = (each for each in update.incidents if each.status is Status.FIRING)
        return max((each.problem.time_ns for each in firing), default=self.event.time_ns)

    @property
    def time(self) -> str:
        """`time_ns` to the second: ``2026-11-23T07:29:49Z``, or in another zone as
        `readable_time`."""
        return format_second(self.time_ns) if self.zone == UTC_ZONE else self.readable_time

    @property
    def readable_time(self) -> str:
        """`time_ns` for people: ``2026-11-23 07:29:49 UTC``."""
        return self.zone.format_second(self.time_ns)

    @property
    def precise_time(self) -> str:
        """`time_ns` in UTC to the millisecond: ``2026-11-23T07:29:49.176Z``."""
        return f"{format_rfc3339(self.time_ns)[:23]}Z"

    @property
    def severity(self) -> Severity:
        """The severity of the notification."""
        return resolve_severity(self.notification)

    @property
    def is_resolved(self) -> bool:
        """Whether the trouble is over."""
        return self.notification.status is Status.RESOLVED

    @property
    def emoji(self) -> str:
        """An emoji that shows the severity, or that the trouble is over."""
        return RESOLVED_EMOJI if self.is_resolved else EMOJIS[self.severity]

    @property
    def colour(self) -> str:
        """A colour that shows the same, as ``#rrggbb``."""
        return _COLOUR_RESOLVED if self.is_resolved else _COLOURS[self.severity]

    @property
    def link_label(self) -> str:
        """What the link is called: ``Open wiki.example.com``; empty if there is none."""
        return f"Open {truncate(find_host(self.link), LINK_HOST_MAX)}" if self.link else ""

    def title(self, limit: int, escapes: Escapes = PLAIN) -> str:
        """Return the headline on one line, in at most ``limit`` UTF-16 units: see `headline`."""
        return join(self.title_pieces(limit, escapes))

    def title_pieces(self, limit: int, escapes: Escapes = PLAIN) -> list[Piece]:
        """Return the `title` in pieces, for services that write each kind differently."""
        custom, update = to_line(self.custom_title), self.notification.update
        if not custom:
            return headline_pieces(self.notification, limit, self.zone, escapes)
        if update is None or self.title_has_status:
            return fit(custom, limit, escapes)
        return add_status(self.notification, update, custom, self.zone).fit(limit, escapes)

    @property
    def body(self) -> Pieces:
        """The `lines`, their host, and the `custom_text`; empty if it would show nothing."""
        text = self.custom_text if join(self.custom_text).strip() else ()
        return (*(piece for line in self.lines for piece in line.pieces), *text)

    def body_pieces(self, limit: int, escapes: Escapes = PLAIN) -> list[Piece]:
        """Return the `body` escaped, in at most ``limit`` UTF-16 units.

        Lines are left out whole; beside a text they take at most half of the limit.
        """
        if not (lines := self.lines):
            return fit(self.body, limit, escapes)
        has_text = bool(join(self.custom_text).strip())
        update = self.notification.update
        assert update is not None, "it has lines"
        total = count_incidents(update) + count_plain_events(update)
        total -= self._headline_incident is not None
        places = find_places(self.notification, update)
        host = describe_host(*places.pop()) if len(places) == 1 else ""
        last = fit((own("\nHost: "), name_piece(host)) if host else (), limit // 4, escapes)
        most = (limit // 2 if has_text else limit) - utf16_length(join(last))
        shown = [*fit_lines(lines, total, most, escapes), *last]
        rest = limit - utf16_length(join(shown)) - 1
        if not has_text:
            # on several hosts nothing would say where to run which
            return [*shown, *self._fit_commands(update, rest, escapes)] if host else shown
        if rest < 1:
            return shown
        return [*shown, Piece(PieceKind.OWN, "\n"), *fit(self.custom_text, rest, escapes)]

    def _fit_commands(self, update: Update, limit: int, escapes: Escapes) -> list[Piece]:
        """Return a line for each command about a few incidents, as far as there is room."""
        shown: list[Piece] = []
        if count_incidents(update) > MAX_FULL_LINES:
            return shown
        for name, command in list_commands(self.notification, update.incidents):
            pieces = own(f"\n{name}: "), Piece(PieceKind.FILLED, command)
            fitting = fit(pieces, 10 * limit, escapes)  # whole: a command that is cut is useless
            if utf16_length(join([*shown, *fitting])) > limit:
                break
            shown += fitting
        return shown

    @property
    def _headline_incident(self) -> IncidentReport | None:
        """The incident that needs no line, because the headline says the same; None if there is
        none."""
        update = self.notification.update
        if update is None or to_line(self.custom_title):
            return None
        return find_headline_incident(update)

    @cached_property
    def lines(self) -> list[Line]:
        """A line for each incident and plain event; none if the headline or the text says it."""
        update = self.notification.update
        if update is None or self.text_has_incidents:
            return []
        if not is_about_one(update):
            return list_lines(self.notification, update, self.zone, self._headline_incident)
        has_own_words = bool(self.custom_title and self.custom_text) and not self.title_has_status
        return list_lines(self.notification, update, self.zone) if has_own_words else []

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The most important facts as names and values; none if there is a `body`."""
        if self.body:
            return []
        update, has_title = self.notification.update, bool(to_line(self.custom_title))
        if update is None or not update.incidents:
            return list_facts(self.event) if has_title else list_further_facts(self.event)
        report = update.incidents[0]
        facts = list_incident_facts(self.event, report, with_details=self.title_has_status)
        if has_title and not self.title_has_status:
            sentence = describe_incident(report, update.made_ns, self.zone)
            facts.insert(0, ("Incident", join(sentence)))
        if report.reason in _LASTING or self.title_has_status:
            facts.append(("Began", self.zone.format_second(report.started_ns)))
        return facts

    def fit_facts(
        self, each: int, escape: Callable[[str], str] = escape_unprintable
    ) -> list[tuple[str, str]]:
        """Return the `facts`, each value in at most ``each`` UTF-16 units; no value is blank.

        A command stays as it is: it is short, and has no character that any service interprets
        in a text of a fixed width.
        """
        return [
            (name, value if is_command(name) else truncate_or_blank(value, each, escape))
            for name, value in self.facts
        ]

    @cached_property
    def included(self) -> list[tuple[str, Included]]:
        """What the engine answered, each with the name of its container: see `list_included`."""
        return list_included(self.notification)

    @property
    def inspect_fields(self) -> list[tuple[str, str]]:
        """The inspect fields of the route's ``include``: see `list_inspect_fields`."""
        return list_inspect_fields(self.included)

    def share_inspect(self, total: int) -> int:
        """Return how much of ``total`` each of the `inspect_fields` may take."""
        return total // max(1, len(self.inspect_fields))

    def inspect_lines(self, each: int) -> list[str]:
        """Return a line for each inspect field, whose path takes at most half of ``each``.

        The line itself is not truncated yet, nor is its value escaped.
        """
        return [f"{truncate(path, each // 2)}: {value}" for path, value in self.inspect_fields]

    def fit_inspect_fields(
        self, total: int, each: int, escape: Callable[[str], str] = escape_unprintable
    ) -> list[tuple[str, str]]:
        """Return the `inspect_fields`, truncated.

        A path and its value take at most ``each`` UTF-16 units, all fields together ``total``. A
        path takes at most half of its share. `BLANK` replaces a value that would show nothing.
        """
        limit = min(each, self.share_inspect(total))
        fields = []
        for path, value in self.inspect_fields:
            name = truncate_or_blank(path, limit // 2, escape)
            fields.append((name, truncate_or_blank(value, limit - utf16_length(name), escape)))
        return fields

    @property
    def output(self) -> list[Output]:
        """What the containers printed, by kind; none is blank."""
        return list_output(self.included)

    def output_limits(self, limits: Mapping[str, int]) -> Mapping[str, int]:
        """Return the limits of each kind of output: beside a link, the logs have less room."""
        taken = len(self.link or "") + utf16_length(self.link_label)
        return {**limits, LOGS: limits[LOGS] - taken}

    @property
    def notes(self) -> list[str]:
        """Short notes that lead back to the configuration, the event and the incident."""
        update, suppressed = self.notification.update, self.notification.suppressed
        is_single = update is None or is_about_one(update)
        missing = [included.missing for _, included in self.included if included.missing]
        notes = [
            f"route {self.notification.route}",
            self._identify(),
            _ORIGINS[self.event.origin] if is_single else "",
            f"{suppressed} held back" if suppressed else "",
            f"not included: {missing[0]}" if missing else "",
            f"no link: {self.link_fault}" if self.link_fault else "",
        ]
        return [note for note in notes if note]

    def _identify(self) -> str:
        """Return the id of the first incident, whole, as commands take it; else of the event."""
        update = self.notification.update
        if update is None or not update.incidents:
            return self.event.id[:EVENT_ID_MAX]
        more = count_incidents(update) - 1
        return f"{update.incidents[0].id}{f' and {more:,} more' if more else ''}"
