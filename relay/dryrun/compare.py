"""Whether what a configuration makes of a case's events is what was expected of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from relay.config import Config
from relay.core.event import Event
from relay.core.notification import Notification
from relay.delivery.redact import Scrubber, secrets_of
from relay.destinations.catalog import Render, renderer
from relay.dryrun.describe import described
from relay.dryrun.partial_match import missing
from relay.dryrun.simulator import Rehearsal, Sent, Told
from relay.dryrun.suite import Case, Expectation, Suite
from relay.ingest.docker.pipeline import Heard
from relay.routing.matcher import Matcher
from relay.routing.router import Step, Verdict

REASONS = 3
"""For so many events it is said why a route did not send them."""
OTHERS = 20
"""So many notifications that were not expected are named."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of a case."""

    case: Case
    differences: tuple[str, ...]
    """In words, a line each; none if all is as it was expected."""


def judge(suite: Suite) -> Iterator[Judgement]:
    """Play each case of a suite, and compare."""
    prints = _Prints(suite.config)
    for case in suite.cases:
        told, sent = _play(case, suite.config)
        yield Judgement(case, (*_Comparison(case, told, sent, prints).differences(),))


def _play(case: Case, config: Config) -> tuple[list[Told], list[Sent]]:
    rehearsal = Rehearsal(config, case.engine, podman=case.podman)
    items = [it for it in map(rehearsal.read, case.events) if isinstance(it, Heard | Event)]
    outcomes = list(rehearsal.outcomes(items))
    return (
        [each for outcome in outcomes for each in outcome.told],
        [each for outcome in outcomes for each in outcome.sent],
    )


class _Comparison:
    """What was expected of a case beside what came of it."""

    def __init__(
        self, case: Case, told: Sequence[Told], sent: Sequence[Sent], prints: "_Prints"
    ) -> None:
        self._case = case
        self._told = told
        self._sent = sent
        self._prints = prints

    def differences(self) -> Iterator[str]:
        """All of them, in the order of what was expected; then what nobody expected."""
        pairs = self._pairs()
        left = [each for number, each in enumerate(self._sent) if number not in pairs.values()]
        for number, expected in enumerate(self._case.expected):
            if number not in pairs:
                yield f"expected {number + 1}: {_wanted(expected)}"
                yield from (f"  {line}" for line in self._instead(expected, left))
        if self._case.exact:
            yield from _unexpected(left)
        yield from self._prints.failures(self._sent)

    def _pairs(self) -> dict[int, int]:
        """From the numbers of expectations to those of what was sent, both in their order."""
        pairs: dict[int, int] = {}
        begin = 0
        for number, expected in enumerate(self._case.expected):
            rest = range(begin, len(self._sent))
            place = next((it for it in rest if self._fits(expected, self._sent[it])), None)
            if place is not None:
                pairs[number], begin = place, place + 1
        return pairs

    def _fits(self, expected: Expectation, sent: Sent) -> bool:
        return _by(expected, sent) and not any(self._unlike(expected, sent))

    def _unlike(self, expected: Expectation, sent: Sent) -> Iterator[str]:
        yield from _unlike(expected, sent)
        yield from self._prints.unlike(expected, sent)

    def _instead(self, expected: Expectation, left: list[Sent]) -> Iterator[str]:
        """What was sent in place of it, which is taken from ``left``; else why nothing was."""
        found = [
            (len(lines := list(self._unlike(expected, sent))), place, lines)
            for place, sent in enumerate(left)
            if _by(expected, sent)
        ]
        if not found:
            others = any(_by(expected, sent) for sent in self._sent)
            yield f"route {expected.route} sent {'no other event' if others else 'nothing'}"
            yield from _why_not(expected, self._told)
            return
        _, place, lines = min(found)
        yield f"found: {_shown(left.pop(place))}"
        yield from lines or ["it is sent, but not in this place of the order"]


def _by(expected: Expectation, sent: Sent) -> bool:
    return sent.notification.route == expected.route


def _wanted(expected: Expectation) -> str:
    to = "" if expected.to is None else f" → {', '.join(expected.to)}"
    return f"{expected.route}{to}"


def _shown(sent: Sent) -> str:
    note = sent.notification
    return f"{note.route} → {', '.join(sent.destinations)}: {described(note.events[0])}"


def _unlike(expected: Expectation, sent: Sent) -> Iterator[str]:
    if expected.to is not None and set(expected.to) != set(sent.destinations):
        wanted, found = ", ".join(expected.to) or "nobody", ", ".join(sent.destinations)
        yield f"to: wanted {wanted}; found {found}"
    if expected.match is not None:
        event = sent.notification.events[0]
        failed = Matcher(expected.match).first_failure(event)
        if failed is not None:
            yield f"match.{failed.path}: wanted {failed.wanted}, found {failed.found(event)}"


def _why_not(expected: Expectation, told: Sequence[Told]) -> Iterator[str]:
    """Why the route did not send those events that are meant, as far as can be told."""
    matcher = None if expected.match is None else Matcher(expected.match)
    meant = [it for it in told if matcher is None or matcher.first_failure(it.event) is None]
    if not meant:
        yield "no event came of these" if not told else "no event is as 'match' says"
    refused = [
        (it.event, step, reason)
        for it in meant
        for step in it.steps
        if step.route.name == expected.route and (reason := _reason(it.event, step, it))
    ]
    # what is of another kind altogether was hardly meant
    shown = [each for each in refused if not _is_foreign(each[1])] or refused
    for event, _, reason in shown[-REASONS:]:
        yield f"{described(event)}: {reason}"
    if len(shown) > REASONS:
        yield f"… and {len(shown) - REASONS} events before these"


def _is_foreign(step: Step) -> bool:
    return step.failed is not None and step.failed.path in ("type", "action")


def _reason(event: Event, step: Step, told: Told) -> str | None:
    match step.verdict:
        case Verdict.NO_MATCH:
            assert step.failed is not None
            failed = step.failed
            return f"{failed.path}: wanted {failed.wanted}, found {failed.found(event)}"
        case Verdict.DROPPED:
            return "the route drops it"
        case Verdict.ALREADY_SENT:
            return "it goes to all of the route's destinations by earlier routes"
        case Verdict.NOT_REACHED:
            ends = next(it for it in reversed(told.steps) if it.verdict is not step.verdict)
            how = "drops it" if ends.verdict is Verdict.DROPPED else "ends the walk"
            return f"route {ends.route.name}, above it, {how}"
        case Verdict.SENT:
            return None


def _unexpected(left: Sequence[Sent]) -> Iterator[str]:
    for sent in left[:OTHERS]:
        yield f"not expected: {_shown(sent)}"
    if len(left) > OTHERS:
        yield f"… and {len(left) - OTHERS} more that were not expected"


class _Prints:
    """What is sent, rendered as the daemon does it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._renders: dict[str, Render] = {}
        self._scrubbers: dict[str, Scrubber] = {}
        self._bodies: dict[tuple[str, str], bytes] = {}
        self._failed: list[str] = []

    def unlike(self, expected: Expectation, sent: Sent) -> Iterator[str]:
        """What the bodies lack, without what is secret in them."""
        for name, part in (expected.body or {}).items():
            if name not in sent.destinations:
                yield f"body of {name}: it goes to {', '.join(sent.destinations)} only"
                continue
            for lack in missing(part, self._body(name, sent.notification)):
                yield self._clean(name, f"body of {name}{lack}")

    def failures(self, sent: Iterable[Sent]) -> list[str]:
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

    def _render(self, name: str) -> Render:
        def failed(where: str, why: str) -> None:
            self._failed.append(self._clean(name, f"the template {where} of {name} fails: {why}"))

        if name not in self._renders:
            to, routes = self._config.destinations[name], self._config.routes
            self._renders[name] = renderer(to, routes, colour=False, failed=failed)
        return self._renders[name]

    def _clean(self, name: str, text: str) -> str:
        if name not in self._scrubbers:
            self._scrubbers[name] = Scrubber(secrets_of(self._config.destinations[name]))
        return self._scrubbers[name].clean(text)
