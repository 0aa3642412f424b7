"""The rules of incidents, small and naive: a case keeps all it heard, and begins anew each time.

Times are in nanoseconds of one clock. There are no schedules, no rows and no indexes: to let time
pass, the model looks at everything for the next moment at which anything could happen.
"""

from collections import Counter
from typing import Any

from relay.core.event import Event
from relay.core.incident import Audience, Notify
from relay.core.severity import default_severity
from relay.incidents.policy import Policies
from relay.routing.router import Router
from tests.unit.incidents.model_case import HOUR, SEVERITY, Case
from tests.unit.incidents.model_hold import (
    find_silence,
    muted_until,
    opts_out,
)
from tests.unit.incidents.model_messages import Messages
from tests.unit.incidents.model_story import MINUTE, SECOND, Heard, fact_of, loops


def subject_of(event: Event) -> tuple[str, str]:
    """What an event is about."""
    if event.type == "relay":
        return ("relay", event.actor.attributes.get("destination", event.engine))
    return (event.engine, str(event.actor.name))


class Model(Messages):
    """All cases and groups of all destinations."""

    def __init__(self, policies: Policies, router: Router, now: int) -> None:
        self.policies, self.router, self.now = policies, router, now
        self.cases = {}
        self.groups = {}
        self.finishes: dict[tuple[str, str], list[int]] = {}
        self.credit = {}
        self.reminding = {}
        self.sent = []
        self.taken: Counter[str] = Counter()
        self.held = Counter()
        self.online = self.settled = False
        self.known = 0
        self.quiet = now + 30 * SECOND
        self.lead = 0
        """How far the wall clock is ahead."""
        self.silences = []

    # The engine is heard, or not.

    def restart(self) -> None:
        """relay starts: nothing is reported before it has heard what happened."""
        self.online = self.settled = False
        self.known, self.quiet = 0, self.now + 30 * SECOND
        self.reload(self.policies, self.router)  # it may be another configuration

    def connect(self) -> None:
        """The stream is open."""
        self.online, self.settled, self.quiet = True, False, self.now + 30 * SECOND

    def disconnect(self) -> None:
        """The stream has ended."""
        if self.online and self.settled:
            self.known = self.now
        self.online = self.settled = False

    def catch_up(self) -> None:
        """All that happened is known."""
        self.settled, self.known = self.online, self.now
        self.run(self.now)

    def gap(self, event: Event) -> None:
        """Something may have been missed, which is an event itself."""
        for case in self.cases.values():
            if case.subject[0] != "relay":
                case.heard.append(Heard("gap", self.now, ""))
        self.take(event)

    def observe(self, name: str, id_: str, health: str | None, started: int | None) -> None:
        """The engine shows this container only; ``started`` is None if it is not running."""
        for case in list(self.cases.values()):
            story, now = case.story, self.now
            if case.subject[0] == "relay" or story.changed >= now:
                continue
            shown: list[Heard] = []
            if case.subject[1] != name:
                shown = [Heard("removed", now, story.container)] if story.ended is None else []
            elif started is not None:
                known = max(story.changed, story.oom_at, story.health_at)
                if not story.up or started > known:
                    shown.append(Heard("started", max(started, story.changed), id_))
                if health is not None and (health != story.health or shown):
                    shown.append(Heard(health, now, id_))
            for it in shown:
                self.hear(case, case.first, it, {})
            story = case.story
            agrees = id_ == story.container and (started is not None) == story.up
            if story.changed < now and (case.subject[1] != name or agrees):
                case.heard.append(Heard("known", now, ""))
        self.mind_groups()

    def may_report(self, subject: tuple[str, str]) -> bool:
        """Whether anything of a subject may be reported now."""
        return subject[0] == "relay" or self.settled or self.now >= self.quiet

    def known_until(self, case: Case) -> int:
        """Until when it is certain that nothing else happened."""
        if case.subject[0] == "relay" or (self.online and self.settled):
            return self.now
        return self.known

    # The configuration.

    def reload(self, policies: Policies, router: Router) -> None:
        """Cases go on where their first event is still sent."""
        self.policies, self.router = policies, router
        for key, case in list(self.cases.items()):
            names = self.find_routes(case.first, case.destination)
            is_shown = (
                self.policy(case.destination).audience is Audience.PAGER and case.times_reported
            )
            if names:
                case.route = names[0]
            elif is_shown and case.open:
                case.open, case.ended_at, case.resolution = False, self.now, "unwatched"
                case.looping = case.died_ill = case.overdue = False
            elif not is_shown or case.news() is None:
                self.held[f"{case.destination} unwatched"] += case.unreported
                del self.cases[key]
        for (to, _), group in self.groups.items():
            for slot in [each for each in group.slots if each.held]:
                if names := self.find_routes(slot.events[0][0], to):
                    slot.route = names[0]
                else:
                    self.held[f"{to} unwatched"] += len(slot.events)
                    group.slots.remove(slot)
        self.mind_groups()
        self.ask_all()

    def find_routes(self, event: Event, to: str) -> list[str]:
        """The routes that send an event to a destination of incidents."""
        return [
            result.route.name
            for result in self.router.explain(event)
            if to in result.destinations and self.policies.takes_incidents(result.route.name, to)
        ]

    # Events.

    def take(self, event: Event) -> None:
        """An event happened."""
        it = None
        if (fact := fact_of(event)) is not None:
            it = Heard(fact, event.time_ns, event.actor.id)
        takers = {
            to: result.route
            for result in self.router.route(event)
            for to in result.destinations
            if self.policies.routes[result.route.name, to].notify is Notify.INCIDENTS
        }
        subject, is_taken = subject_of(event), bool(takers)
        for case in list(self.cases.values()):
            if case.subject == subject:
                self.hear(case, event, it, takers)
        for to, route in takers.items():
            self.begin(to, subject, event, it, route)
        if is_taken and it is not None and it.fact == "finished":
            while self.finishes:  # they are in the order in which they were heard
                oldest = next(iter(self.finishes))
                if self.finishes[oldest][-1] >= it.at - 10 * MINUTE:
                    break
                del self.finishes[oldest]
            self.finishes[subject] = [*self.finishes.pop(subject, []), it.at][-2:]
        self.mind_groups()

    def hear(self, case: Case, event: Event, it: Heard | None, takers: dict[str, Any]) -> None:
        """A case hears of its subject; it takes the event out of ``takers`` if it counts it."""
        story = case.story
        is_problem = it is not None and story.is_news(it) and story.is_problem(it)
        belongs = case.open or case.news() is not None
        route = takers.get(case.destination)
        if it is not None and story.is_news(it):
            self.pass_time(case, it.at)
            case.heard.append(it)
            is_over = not case.open and case.news() is not None
            if is_problem and is_over and case.resolution != "unwatched":
                case.reopen(it.at)
            if case.story.up:
                case.overdue = False
            if case.story.failures != story.failures:
                case.looping = case.looping or (case.open and loops(case.story.failures))
                ill = case.reported is not None and case.reported["condition"] == "unhealthy"
                case.died_ill = case.died_ill or (it.fact == "died" and ill)
        if route is None:
            return
        unwatched = case.resolution == "unwatched"
        in_time = case.open or event.time_ns - case.ended_at <= HOUR
        if is_problem and in_time and (unwatched or not belongs):
            case.route = route.name if unwatched else case.route
            case.reopen(event.time_ns)
            belongs = True
        if belongs:
            del takers[case.destination]
            self.count(case, event, route, is_problem=is_problem)
        elif not is_problem:
            del takers[case.destination]
            self.add_plain(case.destination, event, route)

    def count(self, case: Case, event: Event, route: Any, *, is_problem: bool) -> None:
        """An event of a case."""
        self.taken[case.destination] += 1
        case.total, case.unreported = case.total + 1, case.unreported + 1
        case.last_event = max(case.last_event, event.time_ns)
        severity = (route.severity or default_severity(event)).value
        if is_problem:
            case.problems.append(event)
        if is_problem and SEVERITY.index(severity) > SEVERITY.index(case.severity):
            case.severity = severity

    def begin(
        self, to: str, subject: tuple[str, str], event: Event, it: Heard | None, route: Any
    ) -> None:
        """A case begins, or it is a plain event."""
        before = self.finishes.get(subject, [])
        opens = it is not None and (
            it.fact in ("died", "oom", "unhealthy")
            or (it.fact == "finished" and loops([*before, it.at]))
        )
        if it is None or not opens:
            self.add_plain(to, event, route)
            return
        severity = (route.severity or default_severity(event)).value
        group = (to, self.group_of(to, event))
        case = Case(to, subject, event, route.name, group, severity, list(before))
        case.heard.append(it)
        case.opened_at = event.time_ns
        case.looping = loops(case.story.failures)
        self.cases[to, subject] = case
        self.count(case, event, route, is_problem=True)

    def add_plain(self, to: str, event: Event, route: Any) -> None:
        """An event of no case."""
        self.taken[to] += 1
        silence = find_silence(self.silences, event, route.name, self.now + self.lead)
        if opts_out(event, self.policies.labels):
            self.held[f"{to} opted_out"] += 1
        elif silence is not None:
            self.held[f"{to} silenced"] += 1
            silence.held += 1
        elif event.type == "relay" or self.policy(to).audience is not Audience.PEOPLE:
            policy = self.policies.routes[route.name, to]
            if muted_until(policy, self.now, self.lead) is None:
                self.sent.append({"now": self.now, "to": to, "at once": event.action})
            elif self.policy(to).audience is Audience.PEOPLE:
                self.gather(to, event, route.name)
            else:
                self.held[f"{to} muted"] += 1
        else:
            self.gather(to, event, route.name)

    def group_of(self, to: str, event: Event) -> str:
        """The group of an event: by project, else by name; at a pager each subject is alone."""
        project = event.actor.attributes.get("com.docker.compose.project")
        name = subject_of(event)[1]
        if event.type == "relay":
            name = event.actor.attributes.get("destination", event.engine)
        if self.policy(to).audience is not Audience.PEOPLE:
            return repr(subject_of(event))
        return f"{event.engine} {project or name}" if self.policy(to).group_by else "all"

    # Time.

    def wait_of(self, case: Case) -> int:
        """How long its subject has to be well."""
        policy = self.policies.routes.get((case.route, case.destination))
        return MINUTE if policy is None else policy.resolve_after_ns

    def pass_time(self, case: Case, until: int) -> None:
        """Nothing was heard of a case until then."""
        if not case.open:
            return
        end, missed = case.end(self.wait_of(case)), case.missed()
        if end is not None and end[0] <= until:
            case.open, (case.ended_at, case.resolution) = False, end
            case.looping = case.died_ill = case.overdue = False
        elif missed is not None and missed <= until:
            case.overdue = True

    def run(self, until: int) -> None:
        """Let time pass."""
        self.act()
        while (moment := self.next_moment()) is not None and moment <= until:
            self.now = moment
            self.act()
        self.now = until

    def next_moment(self) -> int | None:
        """The next moment at which anything could happen."""
        moments = [self.quiet]
        for case in self.cases.values():
            if case.open:
                end = case.end(self.wait_of(case))
                moments += [] if end is None else [end[0]]
                moments += [missed] if (missed := case.missed()) is not None else []
            else:
                moments.append(case.ended_at + HOUR)
            if case.ask_at is not None:
                moments.append(case.ask_at)
            if case.named is not None:
                moments.append(case.named + self.policy(case.destination).repeat_interval_ns)
        for (to, _), group in self.groups.items():
            if group.due is not None and group.waiting is None:
                moments.append(group.due)
                moments.append(self.free_at(to))
            moments += [slot.ask_at for slot in group.slots if slot.ask_at is not None]
        for silence in self.silences:
            moments += [silence.begin - self.lead, silence.end - self.lead]
        moments.append(((self.now + self.lead) // MINUTE // 10 + 1) * 10 * MINUTE - self.lead)
        for to in self.credit:
            moments.append(self.free_at(to))
        return min((moment for moment in moments if moment > self.now), default=None)

    def act(self) -> None:
        """Do all that is due now."""
        for case in self.cases.values():
            self.pass_time(case, self.known_until(case))
        self.mind_groups()
        self.ask_again()
        for to in self.policies.destinations:
            self.report(to)
            self.remind(to)
        for key, case in list(self.cases.items()):
            is_over = not case.open and case.news() is None
            if is_over and self.now >= case.ended_at + HOUR:
                del self.cases[key]

    # What becomes of a message.

    def settle(self, number: int, *, delivered: bool = True) -> None:
        """A message is settled; ``number`` is its place among those sent."""
        to = self.sent[number]["to"]
        about = [case for case in self.cases.values() if case.subject == ("relay", to)]
        if delivered and any(not case.story.up for case in about):
            for case in about:
                self.hear(case, case.first, Heard("started", self.now, ""), {})
        if self.reminding.get(to) == number:
            del self.reminding[to]
        for each in self.cases.values():
            if each.waiting == number:
                each.waiting = None
                each.named = self.now if delivered else each.named
        for group in self.groups.values():
            if group.waiting == number:
                group.waiting = None

    def give_up(self, number: int, *, refused: bool) -> None:
        """A message becomes a dead letter."""
        for case in self.cases.values():
            never_known = refused and case.news() == "resolved"
            if case.waiting == number and (case.open or never_known):
                case.refused = refused or case.refused
                case.reported = case.reported if refused else None
        self.settle(number, delivered=False)
        self.mind_groups()

    # Conservation.

    def waiting(self, to: str) -> int:
        """How many events wait to be reported."""
        return sum(case.unreported for case in self.cases.values() if case.destination == to) + sum(
            len(slot.events)
            for (name, _), group in self.groups.items()
            if name == to
            for slot in group.slots
        )
