"""What holds things back in the model: silences, mute intervals, ``for`` and labels.

The mute intervals of the model are in force for some minutes of every hour.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from relay.core.event import Event
from relay.core.incident import Audience
from relay.incidents.mute import MuteInterval, build_week
from relay.incidents.policy import DestinationPolicy, LabelPolicy, RoutePolicy
from tests.unit.incidents.model_case import Case
from tests.unit.incidents.model_story import MINUTE, SECOND

MINUTES = {"early": (20, 40), "late": (30, 50)}
INTERVALS = {
    name: MuteInterval(
        name,
        (
            build_week(
                "UTC",
                [
                    (day, 60 * hour + begin, 60 * hour + end)
                    for day in range(7)
                    for hour in range(24)
                ],
            ),
        ),
    )
    for name, (begin, end) in MINUTES.items()
}


@dataclass
class Silence:
    """What somebody does not want to be notified of, by the wall clock."""

    match: dict[str, str] | None
    begin: int
    end: int
    expired: bool = False
    held: int = 0

    def takes(self, event: Event, route: str, wall: int) -> bool:
        """Whether it is in force and takes an event."""
        if self.expired or not self.begin <= wall < self.end:
            return False
        facts = {"name": event.actor.name, "route": route}
        if event.type != "relay":
            project = event.actor.attributes.get("com.docker.compose.project")
            facts["project"] = project or event.actor.name
        return all(facts.get(key) == value for key, value in (self.match or {}).items())


@dataclass
class Slot:
    """The plain events of a group whose routes are muted at the same times."""

    route: str
    events: list[tuple[Event, str]] = field(default_factory=list)
    held: bool = False
    ask_at: int | None = None


class Reason(NamedTuple):
    """Why something is not reported, until when, and whether it never will be."""

    word: str
    until: int | None = None
    final: bool = False
    silence: Silence | None = None


def muted_until(policy: RoutePolicy, now: int, lead: int) -> int | None:
    """Until when a route is muted; None if it is not."""
    windows = [MINUTES[each.name] for each in policy.mute]
    minute = (now + lead) // MINUTE

    def is_muted(at: int) -> bool:
        return any(begin <= at % 60 < end for begin, end in windows)

    if not is_muted(minute):
        return None
    while is_muted(minute):
        minute += 1
    return minute * MINUTE - lead


def opts_out(event: Event, labels: LabelPolicy) -> bool:
    """Whether the label of an event's container says so."""
    if event.type != "container" or not labels.enable:
        return False
    label = event.actor.attributes.get("relay.enable")
    return label == "false" or (labels.require and label != "true")


def find_silence(
    silences: Iterable[Silence], event: Event, route: str, wall: int
) -> Silence | None:
    """The silence that takes an event; of several the one that ends last."""
    found = [each for each in silences if each.takes(event, route, wall)]
    return max(found, key=lambda each: each.end, default=None)


def why_held(  # noqa: C901 - all reasons at one place, in their order
    case: Case,
    route: RoutePolicy,
    destination: DestinationPolicy,
    labels: LabelPolicy,
    silences: list[Silence],
    now: int,
    lead: int,
) -> Reason | None:
    """Why a case is not reported now."""
    news = case.news()
    new, ends = news in ("opened", "reopened"), news == "resolved"
    missed = new and not case.open
    if not ends and opts_out(case.last, labels):
        return Reason("opted_out", final=not (new and case.open))
    silence = find_silence(silences, case.last, case.route, now + lead)
    if silence is not None and not ends:
        return Reason("silenced", silence.end - lead, missed, silence)
    if case.held == "silenced" and not ends:
        if missed:
            return Reason("silenced", None, True, case.silence)
        end = case.end(route.resolve_after_ns)
        if new and end is not None and end[0] >= now:
            return Reason("silenced", end[0] + SECOND // 1000, False, case.silence)
    if route.for_ns and new:
        long = case.opened_at + route.for_ns
        if case.open and now < long:
            return Reason("for", long)
        if not case.open and case.ended_at < long:
            return Reason("for", final=True)
    if ends and not route.send_resolved:
        return Reason("send_resolved", final=True)
    until = muted_until(route, now, lead)
    pager = destination.audience is Audience.PAGER
    brief = missed and (pager or case.subject[0] == "relay")
    if until is not None and not (ends and pager):
        return Reason("muted", until, brief)
    return Reason("brief", final=True) if brief else None
