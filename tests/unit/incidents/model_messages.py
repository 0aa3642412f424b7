"""How the model reports: which groups are ready, and what a message says."""

from abc import abstractmethod
from collections import Counter
from typing import Any

from relay.core.incident import Audience
from tests.unit.incidents.model_case import HOUR, Case
from tests.unit.incidents.model_held import Group, HeldBack
from tests.unit.incidents.model_hold import Slot
from tests.unit.incidents.model_story import MINUTE

RANK = ["opened", "reopened", "crash_looping", "worse", "stays_down", "resolved", "reminder"]


class Messages(HeldBack):
    """The part of the model that reports what is due."""

    quiet: int
    settled: bool
    credit: dict[str, tuple[int, int]]
    """Of each destination how much it had at which time: a message costs a minute."""
    reminding: dict[str, int]
    sent: list[dict[str, Any]]

    @abstractmethod
    def may_report(self, subject: tuple[str, str]) -> bool:
        """Whether anything of a subject may be reported now."""

    def news_of(self, key: tuple[str, str]) -> list[Case]:
        """The cases of a group that have something to report which is not held back."""
        return [
            c
            for c in self.cases.values()
            if c.group == key and c.news() is not None and c.held is None
        ]

    def mind_groups(self) -> None:
        """Each group with something to report is due, and no other."""
        for case in self.cases.values():
            self.mind_hold(case)
            if case.news() is not None:
                self.groups.setdefault(case.group, Group())
        for key, group in self.groups.items():
            if not self.news_of(key) and all(slot.held for slot in group.slots):
                if group.due is not None:
                    group.after_mute = False
                group.due = None
            elif group.due is None:
                policy = self.policy(key[0])
                group.due = self.now + policy.group_wait_ns
                if group.last is not None:
                    group.due = max(group.due, group.last + policy.group_interval_ns)

    def funds(self, to: str) -> int:
        """How much a destination has to spend: ten minutes at most."""
        amount, at = self.credit.get(to, (10 * MINUTE, self.now))
        return min(10 * MINUTE, amount + self.now - at)

    def free_at(self, to: str) -> int:
        """When a destination may be sent something."""
        return self.now + max(0, MINUTE - self.funds(to))

    def ready(self, to: str, within: int) -> list[tuple[str, str]]:
        """The groups that are due within a time and have something that may be reported."""
        found = []
        for key, group in self.groups.items():
            if key[0] != to or group.due is None or group.waiting is not None:
                continue
            may = [self.may_report(case.subject) for case in self.news_of(key)]
            may += [self.may_report_plain(slot) for slot in group.slots]
            if group.due <= self.now + within and any(may):
                found.append(key)
        return sorted(found, key=lambda key: (self.groups[key].due, key))

    def may_report_plain(self, slot: Slot) -> bool:
        """Whether plain events may be reported now."""
        engine = slot.events[-1][0].engine
        return not slot.held and (engine == "relay" or self.settled or self.now >= self.quiet)

    def keep_quiet(self, keys: list[tuple[str, str]]) -> None:
        """Some things are not reported, or not yet."""
        for key in keys:
            for case in self.news_of(key):
                if self.may_report(case.subject):
                    self.ask(case)
            for slot in self.groups[key].slots:
                if not slot.held:
                    self.ask_slot(key, slot)
        self.mind_groups()

    def mark(self, case: Case) -> None:
        """A message reports the case as it is now, or it is held back."""
        case.reported = {
            "open": case.open,
            "looping": case.looping,
            "severity": case.severity,
            "condition": case.story.condition(self.now),
        }
        case.unreported, case.again, case.died_ill, case.overdue = 0, False, False, False
        case.held = case.ask_at = None

    def report(self, to: str) -> None:
        """Report what is due."""
        self.keep_quiet(self.ready(to, 0))
        due = self.ready(to, 0)
        limited = self.policy(to).audience is Audience.PEOPLE
        if not due or (limited and self.funds(to) < MINUTE):
            return
        if not limited:
            for key in due:
                self.send(to, [key])
            return
        soon = self.ready(to, self.policy(to).group_wait_ns)
        if len(soon) > 3:
            self.keep_quiet(soon)
            self.send(to, self.ready(to, self.policy(to).group_wait_ns))
        elif len(due) > self.funds(to) // MINUTE:
            self.send(to, due)
        else:
            for key in due:
                self.send(to, [key])

    def send(self, to: str, keys: list[tuple[str, str]]) -> None:
        """One message about some groups."""
        cases = [c for key in keys for c in self.news_of(key) if self.may_report(c.subject)]
        if cases:
            after = [key for key in keys if self.groups[key].after_mute]
            cases += [c for c in self.list_reminded(to) if c.group in after and not self.why(c)]
        plain = list[str]()
        number = len(self.sent)
        reasons = [self.reason(case) for case in cases]
        for key in keys:
            group = self.groups[key]
            ready = [slot for slot in group.slots if self.may_report_plain(slot)]
            plain += [event.action for slot in ready for event, _ in slot.events]
            group.slots = [slot for slot in group.slots if slot not in ready]
            group.after_mute = False
            group.last, group.due, group.waiting = self.now, None, number
        self.sent.append(
            {
                "now": self.now,
                "to": to,
                "reason": min(reasons, key=RANK.index) if reasons else "events",
                "status": "firing" if any(c.open for c in cases) or not cases else "resolved",
                "count": sum(case.unreported for case in cases) + len(plain),
                "cases": sorted(map(self.describe, cases), key=str),
                "plain": Counter(plain),
            }
        )
        self.name(cases, number)
        self.credit[to] = (self.funds(to) - MINUTE, self.now)
        self.mind_groups()

    def reason(self, case: Case) -> str:
        """Why a case is reported."""
        return "opened" if case.refused and case.open else case.news() or "reminder"

    def describe(self, case: Case) -> tuple[Any, ...]:
        """What a message reports of a case."""
        before = case.reported is not None and case.times_reported > 0 and not case.refused
        condition = case.story.condition(self.now)
        what = (case.open, condition, case.looping, case.severity, case.resolution)
        return (case.subject[1], *what, case.unreported, case.total, self.reason(case), before)

    def name(self, cases: list[Case], number: int) -> None:
        """The cases were named in a message."""
        for case in cases:
            self.mark(case)
            case.refused, case.named, case.waiting = False, self.now, number
            case.times_reported += 1

    def remind(self, to: str) -> None:
        """Remind of all that is open."""
        every = self.policy(to).repeat_interval_ns
        cases = [case for case in self.list_reminded(to) if not self.why(case)]
        if not every or not cases or to in self.reminding or self.funds(to) < MINUTE:
            return
        if self.now < min(case.named or 0 for case in cases) + every:
            return
        number = self.reminding[to] = len(self.sent)
        self.sent.append(
            {
                "now": self.now,
                "to": to,
                "reason": "reminder",
                "status": "firing",
                "count": sum(case.unreported for case in cases),
                "cases": sorted(map(self.describe, cases), key=str),
                "plain": Counter(),
            }
        )
        self.name(cases, number)
        self.credit[to] = (self.funds(to) - MINUTE, self.now)

    def list_reminded(self, to: str) -> list[Case]:
        """What is open, and was reported."""
        return [
            case
            for case in self.cases.values()
            if case.destination == to
            and case.open
            and case.named is not None
            and case.news() is None
            and case.waiting is None
            and self.now < case.last_event + 7 * 24 * HOUR
            and self.may_report(case.subject)
        ]
