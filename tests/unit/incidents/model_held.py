"""How the model holds things back, and reports them later."""

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from relay.core.event import Event
from relay.incidents.policy import DestinationPolicy, Policies, RoutePolicy
from tests.unit.incidents.model_case import Case
from tests.unit.incidents.model_hold import Reason, Silence, Slot, muted_until, why_held


@dataclass
class Group:
    """What is reported together."""

    last: int | None = None
    due: int | None = None
    waiting: int | None = None
    after_mute: bool = False
    slots: list[Slot] = field(default_factory=list)


class HeldBack(ABC):
    """The part of the model that knows what is held back."""

    policies: Policies
    now: int
    lead: int
    cases: dict[tuple[str, tuple[str, str]], Case]
    groups: dict[tuple[str, str], Group]
    silences: list[Silence]
    held: Counter[str]

    @abstractmethod
    def mind_groups(self) -> None:
        """Each group with something to report is due, and no other."""

    @abstractmethod
    def mark(self, case: Case) -> None:
        """A message reports the case as it is now, or it is held back."""

    @abstractmethod
    def group_of(self, to: str, event: Event) -> str:
        """The group of an event."""

    def policy(self, to: str) -> DestinationPolicy:
        """The policy of a destination."""
        return self.policies.destinations[to]

    def gather(self, to: str, event: Event, route: str) -> None:
        """A plain event waits with those that are muted at the same times."""
        group = self.groups.setdefault((to, self.group_of(to, event)), Group())
        mute = self.route_policy(route, to).mute
        for slot in group.slots:
            if self.route_policy(slot.route, to).mute == mute:
                slot.events.append((event, route))
                return
        group.slots.append(Slot(route, [(event, route)]))

    def route_policy(self, route: str, to: str) -> RoutePolicy:
        """The policy of a route at a destination, which may be gone."""
        return self.policies.routes.get((route, to), RoutePolicy())

    def ask_all(self) -> None:
        """Everything that is held back is asked for again."""
        for case in self.cases.values():
            case.ask_at = self.now if case.held is not None else None
        for group in self.groups.values():
            for slot in group.slots:
                slot.ask_at = self.now if slot.held else None

    def ask_again(self) -> None:
        """Ask for what may no longer be held back."""
        for case in self.cases.values():
            if case.ask_at is not None and case.ask_at <= self.now:
                before = case.held
                self.ask(case)
                if case.held is None and case.news() is not None:
                    self.release(case.group, after_mute=before == "muted")
        for key, group in self.groups.items():
            if any(slot.ask_at is not None and slot.ask_at <= self.now for slot in group.slots):
                were_held = all(slot.held for slot in group.slots)
                for slot in group.slots:
                    if slot.held:
                        self.ask_slot(key, slot)
                if were_held and not all(slot.held for slot in group.slots):
                    self.release(key, after_mute=True)
        self.mind_groups()

    def why(self, case: Case) -> Reason | None:
        """Why a case is not reported now."""
        route = self.route_policy(case.route, case.destination)
        destination, labels = self.policy(case.destination), self.policies.labels
        return why_held(case, route, destination, labels, self.silences, self.now, self.lead)

    def ask(self, case: Case) -> None:
        """Ask why a case is held back, and note the answer."""
        reason = self.why(case)
        case.ask_at = None
        if reason is None:
            case.held = None
        elif reason.final:
            self.held[f"{case.destination} {reason.word}"] += case.unreported
            if reason.silence is not None:
                reason.silence.held += case.unreported
            self.mark(case)
        else:
            if reason.word == "opted_out":
                self.held[f"{case.destination} opted_out"] += case.unreported
                case.unreported = 0
            case.held, case.silence, case.ask_at = reason.word, reason.silence, reason.until
        case.seen = self.what_decides(case)

    def ask_slot(self, key: tuple[str, str], slot: Slot) -> None:
        """Ask whether plain events are held back."""
        policy = self.route_policy(slot.route, key[0])
        slot.ask_at = muted_until(policy, self.now, self.lead)
        slot.held = slot.ask_at is not None

    def release(self, key: tuple[str, str], *, after_mute: bool) -> None:
        """Something of a group is no longer held back: the group is due."""
        group = self.groups[key]
        due = self.now
        if group.last is not None:
            due = max(due, group.last + self.policy(key[0]).group_interval_ns)
        group.due = due if group.due is None else min(due, group.due)
        group.after_mute = group.after_mute or after_mute

    def what_decides(self, case: Case) -> Any:
        """What may change the answer."""
        return case.news(), case.open, case.problems[-1], case.route, case.story, case.unreported

    def mind_hold(self, case: Case) -> None:
        """What is held back is asked for again some time after it has changed."""
        if case.held is None:
            return
        if case.news() is None:
            case.held = case.ask_at = None
        elif self.what_decides(case) != case.seen:
            case.seen = self.what_decides(case)
            wait = self.now + self.policy(case.destination).group_wait_ns
            case.ask_at = wait if case.ask_at is None else min(wait, case.ask_at)
