"""Whether what a configuration makes of a case's events is what was expected of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from relay.config import Config
from relay.core.event import Event
from relay.core.notification import Notification
from relay.delivery.redact import Redactor, collect_secrets
from relay.destinations.catalog import Renderer, build_renderer
from relay.dryrun.describe import describe_event
from relay.dryrun.partial_match import find_missing
from relay.dryrun.simulator import PlannedNotification, RoutedEvent, Simulator
from relay.dryrun.suite import Case, Expectation, Suite
from relay.ingest.docker.pipeline import ParsedRecord
from relay.routing.matcher import Matcher
from relay.routing.router import RouteResult, Verdict

MAX_REASONS = 3
"""For so many events it is said why a route did not send them."""
MAX_UNEXPECTED = 20
"""So many notifications that were not expected are named."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What came of a case."""

    case: Case
    differences: tuple[str, ...]
    """In words, a line each; none if all is as it was expected."""


def run_suite(suite: Suite) -> Iterator[CaseResult]:
    """Play each case of a suite, and compare."""
    prints = _BodyRenderer(suite.config)
    for case in suite.cases:
        told, sent = _simulate(case, suite.config)
        yield CaseResult(case, (*_Comparison(case, told, sent, prints).differences(),))


def _simulate(case: Case, config: Config) -> tuple[list[RoutedEvent], list[PlannedNotification]]:
    rehearsal = Simulator(config, case.engine, podman=case.podman)
    items = [it for it in map(rehearsal.parse, case.events) if isinstance(it, ParsedRecord | Event)]
    outcomes = list(rehearsal.run(items))
    return (
        [each for outcome in outcomes for each in outcome.routed],
        [each for outcome in outcomes for each in outcome.planned],
    )


class _Comparison:
    """What was expected of a case beside what came of it."""

    def __init__(
        self,
        case: Case,
        told: Sequence[RoutedEvent],
        sent: Sequence[PlannedNotification],
        prints: "_BodyRenderer",
    ) -> None:
        self._case = case
        self._routed = told
        self._planned = sent
        self._bodies = prints

    def differences(self) -> Iterator[str]:
        """All of them, in the order of what was expected; then what nobody expected."""
        pairs = self._match_expectations()
        left = [each for number, each in enumerate(self._planned) if number not in pairs.values()]
        for number, expected in enumerate(self._case.expected):
            if number not in pairs:
                yield f"expected {number + 1}: {_describe_expectation(expected)}"
                yield from (f"  {line}" for line in self._describe_closest(expected, left))
        if self._case.exact:
            yield from _describe_unexpected(left)
        yield from self._bodies.find_template_errors(self._planned)

    def _match_expectations(self) -> dict[int, int]:
        """From the numbers of expectations to those of what was sent, both in their order."""
        pairs: dict[int, int] = {}
        begin = 0
        for number, expected in enumerate(self._case.expected):
            rest = range(begin, len(self._planned))
            place = next((it for it in rest if self._fits(expected, self._planned[it])), None)
            if place is not None:
                pairs[number], begin = place, place + 1
        return pairs

    def _fits(self, expected: Expectation, sent: PlannedNotification) -> bool:
        return _is_by_route(expected, sent) and not any(self._find_differences(expected, sent))

    def _find_differences(self, expected: Expectation, sent: PlannedNotification) -> Iterator[str]:
        yield from _find_event_differences(expected, sent)
        yield from self._bodies.find_differences(expected, sent)

    def _describe_closest(
        self, expected: Expectation, left: list[PlannedNotification]
    ) -> Iterator[str]:
        """What was sent in place of it, which is taken from ``left``; else why nothing was."""
        found = [
            (len(lines := list(self._find_differences(expected, sent))), place, lines)
            for place, sent in enumerate(left)
            if _is_by_route(expected, sent)
        ]
        if not found:
            others = any(_is_by_route(expected, sent) for sent in self._planned)
            yield f"route {expected.route} sent {'no other event' if others else 'nothing'}"
            yield from _explain_absence(expected, self._routed)
            return
        _, place, lines = min(found)
        yield f"found: {_describe_planned(left.pop(place))}"
        yield from lines or ["it is sent, but not in this place of the order"]


def _is_by_route(expected: Expectation, sent: PlannedNotification) -> bool:
    return sent.notification.route == expected.route


def _describe_expectation(expected: Expectation) -> str:
    to = "" if expected.to is None else f" → {', '.join(expected.to)}"
    return f"{expected.route}{to}"


def _describe_planned(sent: PlannedNotification) -> str:
    note = sent.notification
    return f"{note.route} → {', '.join(sent.destinations)}: {describe_event(note.events[0])}"


def _find_event_differences(expected: Expectation, sent: PlannedNotification) -> Iterator[str]:
    if expected.to is not None and set(expected.to) != set(sent.destinations):
        wanted, found = ", ".join(expected.to) or "nobody", ", ".join(sent.destinations)
        yield f"to: wanted {wanted}; found {found}"
    if expected.match is not None:
        event = sent.notification.events[0]
        failed = Matcher(expected.match).first_failure(event)
        if failed is not None:
            yield f"match.{failed.path}: wanted {failed.expected}, found {failed.describe_actual(event)}"


def _explain_absence(expected: Expectation, told: Sequence[RoutedEvent]) -> Iterator[str]:
    """Why the route did not send those events that are meant, as far as can be told."""
    matcher = None if expected.match is None else Matcher(expected.match)
    meant = [it for it in told if matcher is None or matcher.first_failure(it.event) is None]
    if not meant:
        yield "no event came of these" if not told else "no event is as 'match' says"
    refused = [
        (it.event, step, reason)
        for it in meant
        for step in it.routes
        if step.route.name == expected.route and (reason := _explain_match(it.event, step, it))
    ]
    # what is of another kind altogether was hardly meant
    shown = [each for each in refused if not _is_other_kind(each[1])] or refused
    for event, _, reason in shown[-MAX_REASONS:]:
        yield f"{describe_event(event)}: {reason}"
    if len(shown) > MAX_REASONS:
        yield f"… and {len(shown) - MAX_REASONS} events before these"


def _is_other_kind(step: RouteResult) -> bool:
    return step.failed_condition is not None and step.failed_condition.path in ("type", "action")


def _explain_match(event: Event, step: RouteResult, told: RoutedEvent) -> str | None:
    match step.verdict:
        case Verdict.NO_MATCH:
            assert step.failed_condition is not None
            failed = step.failed_condition
            return f"{failed.path}: wanted {failed.expected}, found {failed.describe_actual(event)}"
        case Verdict.DROPPED:
            return "the route drops it"
        case Verdict.ALREADY_SENT:
            return "it goes to all of the route's destinations by earlier routes"
        case Verdict.NOT_REACHED:
            ends = next(it for it in reversed(told.routes) if it.verdict is not step.verdict)
            how = "drops it" if ends.verdict is Verdict.DROPPED else "ends the walk"
            return f"route {ends.route.name}, above it, {how}"
        case Verdict.SENT:
            return None


def _describe_unexpected(left: Sequence[PlannedNotification]) -> Iterator[str]:
    for sent in left[:MAX_UNEXPECTED]:
        yield f"not expected: {_describe_planned(sent)}"
    if len(left) > MAX_UNEXPECTED:
        yield f"… and {len(left) - MAX_UNEXPECTED} more that were not expected"


class _BodyRenderer:
    """What is sent, rendered as the daemon does it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._renders: dict[str, Renderer] = {}
        self._redactors: dict[str, Redactor] = {}
        self._bodies: dict[tuple[str, str], bytes] = {}
        self._failed: list[str] = []

    def find_differences(self, expected: Expectation, sent: PlannedNotification) -> Iterator[str]:
        """What the bodies lack, without what is secret in them."""
        for name, part in (expected.body or {}).items():
            if name not in sent.destinations:
                yield f"body of {name}: it goes to {', '.join(sent.destinations)} only"
                continue
            for lack in find_missing(part, self._body(name, sent.notification)):
                yield self._redact(name, f"body of {name}{lack}")

    def find_template_errors(self, sent: Iterable[PlannedNotification]) -> list[str]:
        """The templates that fail for any of these, in place of which relay's own words go out."""
        for each in sent:
            for name in each.destinations:
                self._body(name, each.notification)
        self._bodies.clear()
        failed, self._failed = self._failed, []
        return failed

    def _body(self, name: str, notification: Notification) -> bytes:
        key = (name, notification.id)
        if key not in self._bodies:
            self._bodies[key] = self._render(name)(notification).body
        return self._bodies[key]

    def _render(self, name: str) -> Renderer:
        def failed(where: str, why: str) -> None:
            self._failed.append(self._redact(name, f"the template {where} of {name} fails: {why}"))

        if name not in self._renders:
            to, routes = self._config.destinations[name], self._config.routes
            self._renders[name] = build_renderer(to, routes, colour=False, on_template_error=failed)
        return self._renders[name]

    def _redact(self, name: str, text: str) -> str:
        if name not in self._redactors:
            self._redactors[name] = Redactor(collect_secrets(self._config.destinations[name]))
        return self._redactors[name].redact(text)
