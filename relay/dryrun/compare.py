"""Runs the cases of a suite, and compares what would be sent with what was expected.

The notifications of a case are compared with its expectations in order. For each expectation that
is not met, the report names the most similar notification of the same route and how it differs,
or the reason why the route sent none. `find_missing` compares a body with an expected part of its
JSON or of its text.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from relay.config import Config, Renderer
from relay.config.types import find_texts
from relay.core.event import Event
from relay.core.notification import Notification
from relay.core.text import escape_unprintable
from relay.delivery.redact import Redactor, collect_secrets
from relay.dryrun.simulator import (
    PlannedNotification,
    RoutedEvent,
    Simulator,
    describe_mismatch,
    format_event,
)
from relay.dryrun.suite import Case, Expectation, Suite
from relay.ingest.docker.batch import ParsedRecord
from relay.routing.matcher import Matcher
from relay.routing.router import RouteResult, Verdict

MAX_REASONS = 3
"""For at most this many events the report explains why a route did not send them."""
MAX_UNEXPECTED = 20
"""At most this many unexpected notifications are listed."""
SHOWN_MAX = 200
"""Characters of a value that are shown; the rest is cut."""


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
        simulator = Simulator(suite.config, case.engine, podman=case.podman)
        parsed = map(simulator.parse, case.events)
        items = [it for it in parsed if isinstance(it, ParsedRecord | Event)]
        batches = list(simulator.run(items))
        routed = [each for batch in batches for each in batch.routed]
        planned = [each for batch in batches for each in batch.planned]
        yield CaseResult(case, (*_Comparison(case, routed, planned, bodies).differences(),))


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
            for planned in left[:MAX_UNEXPECTED]:
                yield f"not expected: {_describe_planned(planned)}"
            if len(left) > MAX_UNEXPECTED:
                yield f"… and {len(left) - MAX_UNEXPECTED} more that were not expected"
        yield from self._bodies.find_template_errors(self._planned)

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
    return f"{notification.route} → {to}: {format_event(notification.events[0])}"


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


def find_missing(wanted: object, body: bytes) -> list[str]:
    """Return what a body lacks of ``wanted``, one sentence each; empty if it holds all of it.

    A text must occur in the body, or in one of the strings in its JSON. A mapping or a list is
    compared with the body's JSON: of a mapping only the given keys, of a list only the given
    items, in their order; and each of these again in part.
    """
    found = _decode(body)
    if isinstance(wanted, Mapping | list):
        if found is None:
            return [f": wanted JSON, found {_show(body.decode(errors='replace'))}"]
        return list(_missing_parts(wanted, found, ""))
    text = wanted if isinstance(wanted, str) else _to_json(wanted)
    texts = [body.decode(errors="replace"), *(each for _, each in find_texts(found))]
    if any(text in each for each in texts):
        return []
    return [f": wanted {text!r} in it, found {_show(texts[0])}"]


def _decode(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _missing_parts(wanted: object, found: object, path: str) -> Iterator[str]:
    match wanted:
        case Mapping() if isinstance(found, Mapping):
            for key, value in wanted.items():
                here = f"{path}.{key}"
                if key not in found:
                    yield f"{here}: wanted {_show(value)}, found no such key"
                else:
                    yield from _missing_parts(value, found[key], here)
        case list() if isinstance(found, list):
            yield from _missing_items(wanted, found, path)
        case _ if not _is_equal(wanted, found):
            yield f"{path}: wanted {_show(wanted)}, found {_show(found)}"


def _missing_items(wanted: Sequence[object], found: Sequence[object], path: str) -> Iterator[str]:
    """Look for the items one after the other, each behind the one found before it.

    For the first one that is not there, yield what the most similar item lacks.
    """
    begin = 0
    for value in wanted:
        lacking = [
            list(_missing_parts(value, item, f"{path}[{index}]"))
            for index, item in enumerate(found[begin:], start=begin)
        ]
        position = next((index for index, each in enumerate(lacking) if not each), None)
        if position is None:
            closest = min(lacking, key=len, default=None)
            yield from closest or [f"{path}: wanted {_show(value)}, found nothing more in the list"]
            return
        begin += position + 1


def _is_equal(wanted: object, found: object) -> bool:
    """Compare two scalars; relay's YAML reader keeps all numbers but integers as texts."""
    if isinstance(wanted, bool) or isinstance(found, bool) or wanted is None:
        return wanted is found
    if isinstance(found, int | float) and isinstance(wanted, str):
        return wanted == _to_json(found)
    return type(wanted) is type(found) and wanted == found


def _show(value: object) -> str:
    text = value if isinstance(value, str) else _to_json(value)
    cut = text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"
    return repr(cut) if isinstance(value, str) else escape_unprintable(cut)


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
