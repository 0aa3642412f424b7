"""Runs the cases of a suite, and compares what would be sent with what was expected.

The notifications of a case are compared with its expectations in order. For each expectation that
is not met, the report names the most similar notification of the same route and how it differs,
or the reason why the route sent none.

A case is timed if it says anything about time or incidents (`Case.is_timed`): then all that is sent
is compared, when it is sent. Else each event is compared with what would be sent of it if it were
the first of its container, so a case need not know which events share a message.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from relay.core.event import Event
from relay.core.incident import Update, incident_object
from relay.core.notification import Notification
from relay.dryrun.body import BodyRenderer
from relay.dryrun.expectation import Expectation
from relay.dryrun.incidents import PlannedNotification
from relay.dryrun.partial_match import find_missing_parts
from relay.dryrun.simulator import RoutedEvent, Simulator, describe_mismatch, format_event
from relay.dryrun.suite import Case, Suite
from relay.incidents.policy import Policies, build_policies
from relay.ingest.docker.batch import ParsedRecord
from relay.routing.matcher import Matcher
from relay.routing.router import RouteResult, Verdict

MAX_REASONS = 3
"""For at most this many events the report explains why a route did not send them."""
MAX_UNEXPECTED = 20
"""At most this many unexpected notifications are listed."""
MAX_SUBJECTS = 5
"""Of a notification at most this many incidents are named."""
AT_TOLERANCE_NS = 100_000_000
"""A notification may be sent by less than this earlier or later than expected."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of one case."""

    case: Case
    differences: tuple[str, ...]
    """One line each; empty if everything is as expected. May contain unprintable characters."""


def run_suite(suite: Suite) -> Iterator[CaseResult]:
    """Simulate each case of a suite, and compare the result with what it expects."""
    policies = build_policies(suite.config)
    bodies = BodyRenderer(suite.config, policies)
    for case in suite.cases:
        simulator = Simulator(suite.config, case.engine, podman=case.podman, host=case.host)
        for silence in case.stage.silences:
            simulator.incidents.add_silence(silence.to_request(case.begin_ns), case.begin_ns)
        parsed = map(simulator.parse, case.events)
        items = [it for it in parsed if isinstance(it, ParsedRecord | Event)]
        batches = list(simulator.run(items, until_ns=case.until_ns or 0))
        routed = [each for batch in batches for each in batch.routed]
        if case.is_timed:
            planned = [each for batch in batches for each in batch.planned]
        else:
            planned = [each for it in routed for each in _plan_events(it)]
        comparison = _Comparison(case, routed, planned, bodies, policies)
        held = _find_held_differences(case, simulator) if case.is_timed else ()
        yield CaseResult(case, (*comparison.differences(), *held))


def _find_held_differences(case: Case, simulator: Simulator) -> Iterator[str]:
    """Yield how what is held back at the end differs from what is expected to be."""
    expected = case.stage.held
    if expected is None:
        return
    found = simulator.incidents.count_totals().held
    for reason in sorted({*expected, *found}):
        wanted, got = expected.get(reason, 0), found.get(reason, 0)
        if wanted != got:
            yield f"held.{reason}: wanted {wanted}; found {got}"


def _plan_events(routed: RoutedEvent) -> Iterator[PlannedNotification]:
    """Yield what each route sends of an event, as if every destination got each event."""
    event = routed.event
    for result in routed.matches:
        if result.verdict is Verdict.SENT:
            notification = result.build_notification(event)
            yield PlannedNotification(notification, result.destinations, event.time_ns)


class _Comparison:
    """Compares the notifications of one case with its expectations."""

    def __init__(
        self,
        case: Case,
        routed: Sequence[RoutedEvent],
        planned: Sequence[PlannedNotification],
        bodies: BodyRenderer,
        policies: Policies,
    ) -> None:
        self._case = case
        self._routed = routed
        self._planned = planned
        self._bodies = bodies
        self._policies = policies

    def differences(self) -> Iterator[str]:
        """Yield the unmet expectations in order, then the unexpected, then failing templates."""
        pairs = self._match_expectations()
        left = [each for number, each in enumerate(self._planned) if number not in pairs.values()]
        for number, expected in enumerate(self._case.expected):
            if number not in pairs:
                to = "" if expected.to is None else f" → {', '.join(expected.to)}"
                yield f"expected {number + 1}: {expected.route}{to}"
                yield from (f"  {line}" for line in self._describe_closest(expected, left))
        unexpected = [each for each in left if self._has_to_be_expected(each)]
        for planned in unexpected[:MAX_UNEXPECTED]:
            yield f"not expected: {self._describe(planned)}"
        if len(unexpected) > MAX_UNEXPECTED:
            yield f"… and {len(unexpected) - MAX_UNEXPECTED} more that were not expected"
        yield from self._bodies.find_template_errors(self._planned)

    def _has_to_be_expected(self, planned: PlannedNotification) -> bool:
        """Whether a notification must not be sent unless the case expects it.

        A timed case is about messages on incidents. What destinations of events get need not be
        listed there.
        """
        if not self._case.exact or not self._case.is_timed:
            return self._case.exact
        route = planned.notification.route
        return any(self._policies.takes_incidents(route, name) for name in planned.destinations)

    def _match_expectations(self) -> dict[int, int]:
        """Map each expectation that is met to its notification, by their numbers.

        Both keep their order: each expectation takes the first notification that fits, of those
        after the one taken last.
        """
        pairs: dict[int, int] = {}
        begin = 0
        for number, expected in enumerate(self._case.expected):
            for position, planned in enumerate(self._planned[begin:], start=begin):
                if _is_by_route(expected, planned) and not any(
                    self._find_differences(expected, planned)
                ):
                    pairs[number], begin = position, position + 1
                    break
        return pairs

    def _find_differences(
        self, expected: Expectation, planned: PlannedNotification
    ) -> Iterator[str]:
        if _is_elsewhere(expected, planned):
            wanted = ", ".join(expected.to or ()) or "nobody"
            yield f"to: wanted {wanted}; found {', '.join(planned.destinations)}"
        if expected.match is not None:
            matcher, events = Matcher(expected.match), planned.notification.events
            failed = [matcher.first_failure(event) for event in events]
            if failed[0] is not None and None not in failed:
                yield f"match.{describe_mismatch(failed[0], events[0])}"
        if expected.is_timed:
            yield from _find_update_differences(expected, planned, self._case.begin_ns)
        yield from self._bodies.find_differences(expected, planned)

    def _describe_closest(
        self, expected: Expectation, left: list[PlannedNotification]
    ) -> Iterator[str]:
        """Describe the notification closest to the expected one, and remove it from ``left``.

        If the route sent none, explain why.
        """
        found = [
            (
                _is_elsewhere(expected, planned),
                len(lines := list(self._find_differences(expected, planned))),
                position,
                lines,
            )
            for position, planned in enumerate(left)
            if _is_by_route(expected, planned)
        ]
        if not found:
            others = any(_is_by_route(expected, planned) for planned in self._planned)
            noun = "notification" if self._case.is_timed else "event"
            yield f"route {expected.route} sent {f'no other {noun}' if others else 'nothing'}"
            yield from _explain_absence(expected, self._routed)
            return
        *_, position, lines = min(found)
        yield f"found: {self._describe(left.pop(position))}"
        yield from lines or ["it is sent, but in a different order"]

    def _describe(self, planned: PlannedNotification) -> str:
        notification = planned.notification
        line = f"{notification.route} → {', '.join(planned.destinations)}: "
        if not self._case.is_timed:
            return line + format_event(notification.events[0])
        line += f"at {_format_time(planned.at_ns - self._case.begin_ns)}, "
        return line + _describe_content(notification)


def _is_elsewhere(expected: Expectation, planned: PlannedNotification) -> bool:
    """Whether it is sent to other destinations than expected."""
    return expected.to is not None and set(expected.to) != set(planned.destinations)


def _describe_content(notification: Notification) -> str:
    """Return what a notification says, as in ``firing, opened, count 2: 'db', 'api'``."""
    update = notification.update
    if update is None:
        return format_event(notification.events[0])
    subjects = [report.subject for report in update.incidents] or list(update.names)
    names = ", ".join(map(repr, subjects[:MAX_SUBJECTS]))
    left = len(subjects) + update.more - MAX_SUBJECTS
    more = f" and {left} more" if left > 0 else ""
    return f"{notification.status}, {update.reason}, count {notification.count}: {names}{more}"


def _is_by_route(expected: Expectation, planned: PlannedNotification) -> bool:
    return planned.notification.route == expected.route


def _find_update_differences(
    expected: Expectation, planned: PlannedNotification, begin_ns: int
) -> Iterator[str]:
    """Yield how a notification differs in when it is sent, and in what it says of incidents."""
    notification, update = planned.notification, planned.notification.update
    found = {
        "status": notification.status.value,
        "reason": "nothing: it is an event by itself" if update is None else update.reason.value,
        "count": notification.count,
    }
    for key, value in found.items():
        wanted = getattr(expected, key)
        if wanted is not None and wanted != value:
            yield f"{key}: wanted {wanted}, found {value}"
    if expected.at_ns is not None:
        at_ns = planned.at_ns - begin_ns
        if abs(at_ns - expected.at_ns) >= AT_TOLERANCE_NS:
            yield f"at: wanted {_format_time(expected.at_ns)}, found {_format_time(at_ns)}"
    if expected.incidents is not None:
        yield from _find_incident_differences(expected.incidents, update)


def _find_incident_differences(
    wanted: int | Sequence[str | Mapping[str, object]], update: Update | None
) -> Iterator[str]:
    reports = () if update is None else update.incidents
    count = len(reports) + (0 if update is None else update.more)
    wanted_count = wanted if isinstance(wanted, int) else len(wanted)
    if wanted_count != count:
        names = ", ".join(repr(report.subject) for report in reports[:MAX_SUBJECTS])
        yield f"incidents: wanted {wanted_count}, found {count}" + (f" ({names})" if names else "")
    elif not isinstance(wanted, int):
        for number, (part, report) in enumerate(zip(wanted, reports, strict=False)):
            item = {"subject": part} if isinstance(part, str) else part
            yield from find_missing_parts(item, incident_object(report), f"incidents[{number}]")


def _format_time(time_ns: int) -> str:
    """Return a time since the beginning of a case, as it is written: ``1h2m3s50ms``."""
    millis = round(time_ns / 1_000_000)
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        number, millis = divmod(millis, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def _explain_absence(expected: Expectation, routed: Sequence[RoutedEvent]) -> Iterator[str]:
    """Explain why the route did not send the events that the expectation may refer to."""
    matcher = None if expected.match is None else Matcher(expected.match)
    candidates = [it for it in routed if matcher is None or matcher.first_failure(it.event) is None]
    if not candidates:
        yield "none of the events reached the routes" if not routed else "no event fits 'match'"
    refused = [
        (it.event, result, reason)
        for it in candidates
        for result in it.routes
        if result.route.name == expected.route and (reason := _explain_result(result, it))
    ]
    # An event of another type or action was hardly the expected one: leave it out if there are
    # others.
    shown = [
        each
        for each in refused
        if (failed := each[1].failed_condition) is None or failed.path not in ("type", "action")
    ] or refused
    for event, _, reason in shown[-MAX_REASONS:]:
        yield f"{format_event(event)}: {reason}"
    if len(shown) > MAX_REASONS:
        yield f"… and {len(shown) - MAX_REASONS} earlier events"


def _explain_result(result: RouteResult, routed: RoutedEvent) -> str | None:
    """Explain why a route did not send an event; None if it did."""
    match result.verdict:
        case Verdict.NO_MATCH:
            assert result.failed_condition is not None
            return describe_mismatch(result.failed_condition, routed.event)
        case Verdict.DROPPED:
            return "the route drops it"
        case Verdict.ALREADY_SENT:
            return "earlier routes send it to all of this route's destinations"
        case Verdict.NOT_REACHED:
            last = next(it for it in reversed(routed.routes) if it.verdict is not result.verdict)
            how = "drops it" if last.verdict is Verdict.DROPPED else "has 'stop: true'"
            return f"route {last.route.name}, above it, {how}"
        case Verdict.SENT:
            return None
