"""Runs the cases of a suite, and compares what would be sent with what was expected.

The notifications of a case are compared with its expectations in order. For each expectation that
is not met, the report names the most similar notification of the same route and how it differs,
or the reason why the route sent none.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from relay.config import Config, Renderer
from relay.core.event import Event
from relay.core.notification import Notification
from relay.core.text import escape_unprintable
from relay.delivery.redact import Redactor, collect_secrets
from relay.dryrun.describe import describe_event, describe_mismatch
from relay.dryrun.partial_match import find_missing
from relay.dryrun.simulator import PlannedNotification, RoutedEvent, Simulator
from relay.dryrun.suite import Case, Expectation, Suite
from relay.ingest.docker.pipeline import ParsedRecord
from relay.routing.matcher import Matcher
from relay.routing.router import RouteResult, Verdict

MAX_REASONS = 3
"""For at most this many events the report explains why a route did not send them."""
MAX_UNEXPECTED = 20
"""At most this many unexpected notifications are listed."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of one case."""

    case: Case
    differences: tuple[str, ...]
    """One line each; empty if everything is as expected. May contain unprintable characters."""


def run_suite(suite: Suite) -> Iterator[CaseResult]:
    """Simulate each case of a suite, and compare the result with what it expects."""
    bodies = _BodyRenderer(suite.config)
    for case in suite.cases:
        routed, planned = _simulate(case, suite.config)
        yield CaseResult(case, (*_Comparison(case, routed, planned, bodies).differences(),))


def _simulate(case: Case, config: Config) -> tuple[list[RoutedEvent], list[PlannedNotification]]:
    simulator = Simulator(config, case.engine, podman=case.podman)
    items = [it for it in map(simulator.parse, case.events) if isinstance(it, ParsedRecord | Event)]
    batches = list(simulator.run(items))
    return (
        [each for batch in batches for each in batch.routed],
        [each for batch in batches for each in batch.planned],
    )


class _Comparison:
    """Compares the notifications of one case with its expectations."""

    def __init__(
        self,
        case: Case,
        routed: Sequence[RoutedEvent],
        planned: Sequence[PlannedNotification],
        bodies: "_BodyRenderer",
    ) -> None:
        self._case = case
        self._routed = routed
        self._planned = planned
        self._bodies = bodies

    def differences(self) -> Iterator[str]:
        """Yield the unmet expectations in order, then the unexpected, then failing templates."""
        pairs = self._match_expectations()
        left = [each for number, each in enumerate(self._planned) if number not in pairs.values()]
        for number, expected in enumerate(self._case.expected):
            if number not in pairs:
                to = "" if expected.to is None else f" → {', '.join(expected.to)}"
                yield f"expected {number + 1}: {expected.route}{to}"
                yield from (f"  {line}" for line in self._describe_closest(expected, left))
        if self._case.exact:
            yield from _describe_unexpected(left)
        yield from self._bodies.find_template_errors(self._planned)

    def _match_expectations(self) -> dict[int, int]:
        """Map each expectation that is met to its notification, by their numbers.

        Both keep their order: each expectation takes the first notification that fits behind the
        one taken before.
        """
        pairs: dict[int, int] = {}
        begin = 0
        for number, expected in enumerate(self._case.expected):
            rest = range(begin, len(self._planned))
            fitting = (it for it in rest if self._fits(expected, self._planned[it]))
            if (position := next(fitting, None)) is not None:
                pairs[number], begin = position, position + 1
        return pairs

    def _fits(self, expected: Expectation, planned: PlannedNotification) -> bool:
        return _is_by_route(expected, planned) and not any(
            self._find_differences(expected, planned)
        )

    def _find_differences(
        self, expected: Expectation, planned: PlannedNotification
    ) -> Iterator[str]:
        if expected.to is not None and set(expected.to) != set(planned.destinations):
            wanted = ", ".join(expected.to) or "nobody"
            yield f"to: wanted {wanted}; found {', '.join(planned.destinations)}"
        if expected.match is not None:
            event = planned.notification.events[0]
            failed = Matcher(expected.match).first_failure(event)
            if failed is not None:
                yield f"match.{describe_mismatch(failed, event)}"
        yield from self._bodies.find_differences(expected, planned)

    def _describe_closest(
        self, expected: Expectation, left: list[PlannedNotification]
    ) -> Iterator[str]:
        """Describe the notification closest to the expected one, and remove it from ``left``.

        If the route sent none, explain why.
        """
        found = [
            (len(lines := list(self._find_differences(expected, planned))), position, lines)
            for position, planned in enumerate(left)
            if _is_by_route(expected, planned)
        ]
        if not found:
            others = any(_is_by_route(expected, planned) for planned in self._planned)
            yield f"route {expected.route} sent {'no other event' if others else 'nothing'}"
            yield from _explain_absence(expected, self._routed)
            return
        _, position, lines = min(found)
        yield f"found: {_describe_planned(left.pop(position))}"
        yield from lines or ["it is sent, but in a different order"]


def _is_by_route(expected: Expectation, planned: PlannedNotification) -> bool:
    return planned.notification.route == expected.route


def _describe_planned(planned: PlannedNotification) -> str:
    notification = planned.notification
    to = ", ".join(planned.destinations)
    return f"{notification.route} → {to}: {describe_event(notification.events[0])}"


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
    shown = [each for each in refused if not _is_other_kind(each[1])] or refused
    for event, _, reason in shown[-MAX_REASONS:]:
        yield f"{describe_event(event)}: {reason}"
    if len(shown) > MAX_REASONS:
        yield f"… and {len(shown) - MAX_REASONS} earlier events"


def _is_other_kind(result: RouteResult) -> bool:
    failed = result.failed_condition
    return failed is not None and failed.path in ("type", "action")


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


def _describe_unexpected(left: Sequence[PlannedNotification]) -> Iterator[str]:
    for planned in left[:MAX_UNEXPECTED]:
        yield f"not expected: {_describe_planned(planned)}"
    if len(left) > MAX_UNEXPECTED:
        yield f"… and {len(left) - MAX_UNEXPECTED} more that were not expected"


class _BodyRenderer:
    """Renders bodies as the daemon does, each once; shows nothing that is secret."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._renderers: dict[str, Renderer] = {}
        self._redactors: dict[str, Redactor] = {}
        self._bodies: dict[tuple[str, str], bytes] = {}
        self._template_errors: list[str] = []

    def find_differences(
        self, expected: Expectation, planned: PlannedNotification
    ) -> Iterator[str]:
        """Yield what the bodies lack of the expected parts."""
        for name, part in (expected.body or {}).items():
            if name not in planned.destinations:
                yield f"body of {name}: it goes to {', '.join(planned.destinations)} only"
                continue
            for lack in find_missing(part, self._body(name, planned.notification)):
                yield self._redact(name, f"body of {name}{lack}")

    def find_template_errors(self, planned: Iterable[PlannedNotification]) -> list[str]:
        """Return which templates fail; for these the daemon would send relay's default text."""
        for each in planned:
            for name in each.destinations:
                self._body(name, each.notification)
        self._bodies.clear()
        errors, self._template_errors = self._template_errors, []
        return errors

    def _body(self, name: str, notification: Notification) -> bytes:
        key = (name, notification.id)
        if key not in self._bodies:
            self._bodies[key] = self._renderer(name)(notification).body
        return self._bodies[key]

    def _renderer(self, name: str) -> Renderer:
        def on_template_error(where: str, why: str) -> None:
            error = self._redact(name, f"the template {where} of {name} fails: {why}")
            self._template_errors.append(error)

        if name not in self._renderers:
            to, routes = self._config.destinations[name], self._config.routes
            self._renderers[name] = to.build_renderer(routes, on_template_error, colour=False)
        return self._renderers[name]

    def _redact(self, name: str, text: str) -> str:
        if name not in self._redactors:
            self._redactors[name] = Redactor(collect_secrets(self._config.destinations[name]))
        return self._redactors[name].redact(text)


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """The results of one file of tests."""

    file: str
    cases: Sequence[CaseResult]
    duration_s: float


def build_report(suites: Iterable[SuiteResult]) -> bytes:
    """Return the XML: a ``testsuite`` for each file, and a ``testcase`` for each case in it.

    A case's ``failure`` holds its differences, one a line.
    """
    root = Element("testsuites")
    for result in suites:
        failed = sum(bool(case.differences) for case in result.cases)
        suite = SubElement(
            root,
            "testsuite",
            name=escape_unprintable(result.file),
            tests=str(len(result.cases)),
            failures=str(failed),
            errors="0",
            skipped="0",
            time=f"{result.duration_s:.3f}",
        )
        for case_result in result.cases:
            _add_case(suite, result.file, case_result)
    indent(root)
    text: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _add_case(suite: Element, file: str, result: CaseResult) -> None:
    case = SubElement(
        suite,
        "testcase",
        name=escape_unprintable(result.case.name),
        classname=escape_unprintable(file),
        file=escape_unprintable(file),
        line=str(result.case.line),
    )
    if lines := [escape_unprintable(line) for line in result.differences]:
        failure = SubElement(case, "failure", message=lines[0], type="difference")
        failure.text = "\n".join(lines)
