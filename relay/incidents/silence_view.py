"""What operators see of silences: which are in force, and what each holds back."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from msgspec.structs import astuple

from relay.core.incident import UpdateReason
from relay.incidents.incident import Incident
from relay.incidents.silence import Silence, Silences
from relay.incidents.state import Rows


class SilenceState(StrEnum):
    """Whether a silence holds something back."""

    ACTIVE = "active"
    PENDING = "pending"
    """It is to begin."""
    OVER = "over"


class SilenceView(Silence, frozen=True, kw_only=True, omit_defaults=False):
    """A silence, and what it is about at the moment."""

    state: SilenceState
    matching: int
    """How many open incidents it matches, whether it is active or not. Here and in all counts, an
    incident at two destinations counts twice, as its events do."""
    holding_incidents: int
    """How many incidents it holds back: they are reported when it ends, unless they are over."""
    holding_events: int
    """How many events of theirs have not been reported."""


def list_silences(rows: Rows, wall_ns: int, *, include_over: bool = False) -> list[SilenceView]:
    """Return silences: those in force first, the next to end before others; then those to come,
    and those that are over, the last one first."""
    silences = [
        each
        for each in rows.silences
        if not (each.is_forgotten(wall_ns) if include_over else each.is_over(wall_ns))
    ]
    return make_views(silences, rows, wall_ns)


def make_views(silences: Iterable[Silence], rows: Rows, wall_ns: int) -> list[SilenceView]:
    """Return some of the silences in the order of `list_silences`."""
    wanted = list(silences)
    if not wanted:
        return []
    found = _Matches(rows, wall_ns)
    views = [
        SilenceView(
            *astuple(each),
            state=_find_state(each, wall_ns),
            matching=found.matching[each.id],
            holding_incidents=found.holding[each.id],
            holding_events=found.events[each.id],
        )
        for each in wanted
    ]
    return sorted(views, key=_find_order)


class _Matches:
    """How many incidents each silence matches and holds back, and how many events, by its id."""

    def __init__(self, rows: Rows, wall_ns: int) -> None:
        self.matching: Counter[int] = Counter()
        self.holding: Counter[int] = Counter()
        self.events: Counter[int] = Counter()
        silences = Silences(rows.silences)
        for incident in rows.incidents:
            if not incident.is_open and not _is_unreported(incident):
                continue
            problem = incident.last.decode()
            fitting = silences.find_all(problem, incident.route, incident.id)
            self.matching.update(each.id for each in fitting if incident.is_open)
            holder = silences.choose(fitting, wall_ns)
            if holder is not None and _is_unreported(incident):
                self.holding[holder.id] += 1
                self.events[holder.id] += incident.unreported


def _is_unreported(incident: Incident) -> bool:
    """Whether a silence may hold its update back. The end of what was reported is reported."""
    return incident.update is not None and incident.update is not UpdateReason.RESOLVED


def _find_state(silence: Silence, wall_ns: int) -> SilenceState:
    if silence.is_over(wall_ns):
        return SilenceState.OVER
    return SilenceState.PENDING if silence.is_to_come(wall_ns) else SilenceState.ACTIVE


def _find_order(view: SilenceView) -> tuple[int, int, int]:
    match view.state:
        case SilenceState.ACTIVE:
            return 0, view.until_ns, view.id
        case SilenceState.PENDING:
            return 1, view.from_ns, view.id
        case SilenceState.OVER:
            return 2, -view.end_ns, -view.id
