"""What one run does. The plan depends on its seed and its point only."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from relay.core.event import Cause
from relay.store.records import LONG_BYTES
from tests.crash.points import (
    CHANGE_POINTS,
    ENRICH_POINTS,
    INCIDENT_POINTS,
    INSPECTION_POINTS,
    POINTS,
    REMOVAL_POINTS,
    RETRY_POINTS,
    SNAPSHOT_POINTS,
    Point,
)

MIN_EVENTS, MAX_EVENTS = 20, 60
"""Approximate number of events in a run. The engine's history holds 256, so it forgets none unless
it is restarted."""

SECOND_KILL_SHARE = 0.5
"""The share of runs in which relay is killed in its second lifetime too."""

ENGINE_RESTART_SHARE = 0.25
"""The share of runs at whose end the engine is restarted while relay is dead."""

INCLUDE_SHARE = 0.1
"""The share of runs in which the notifications of some containers include more than the event. It
is small, because a notification whose inspection a kill interrupts is held for a while."""

INCLUDE_LABEL = {"include": "inspect"}
"""The label by which a route finds such containers."""

INCLUDE_LABELS = {**INCLUDE_LABEL, "note": "x" * LONG_BYTES}
"""All their labels: so long that a notification is stored once for all its destinations."""

HIDDEN_EXIT_CODE_LABEL = {"exitCode": "0"}
"""A label that hides the exit code in events: only inspecting the container returns it."""

SILENCED = "silenced"
"""The container whose crash a silence holds back."""

OPTED_OUT_LABELS = {"relay.enable": "false"}
"""The labels of containers whose crashes are not reported to people."""

EXIT_CODE = 3
"""The exit code of every container."""


@dataclass(frozen=True, slots=True)
class ContainerEvent:
    """Something that happens to a container."""

    container: str
    action: str
    cause: Cause | None = None
    """The cause that relay is to report."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The container's labels."""
    forgotten: bool = False
    """Whether the engine forgets it, and all events before it: relay has to infer it."""
    in_doubt: bool = False
    """Whether the engine forgets it soon after. relay has to infer it if it is killed before it has
    committed the event."""


REMOVAL_STORY = [
    ContainerEvent("removed", "start"),
    ContainerEvent("removed", "die", Cause.CRASHED),
    ContainerEvent("removed", "destroy"),
]
"""A container that crashes and is removed for certain; of the others half do, and half are."""

CHANGE_STORY = [
    ContainerEvent("changed", "start", None, HIDDEN_EXIT_CODE_LABEL),
    ContainerEvent("changed", "die", Cause.CRASHED, HIDDEN_EXIT_CODE_LABEL),
]
"""A container that is inspected for certain, and changes after it was stored; of the others all
events may be in one commit."""

Waves = Sequence[Sequence[ContainerEvent]]
"""Groups of events; those of a group happen together."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """One lifetime of relay."""

    point: Point | None
    """The point at which it is killed; None if it is not killed."""
    hit: int
    before: Waves
    """Happens while relay is dead."""
    during: Waves


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    point: Point
    """Where its first lifetime is killed."""
    lifetimes: tuple[Lifetime, ...]
    """The last one is not killed."""
    failure_share: float
    """The share of requests that the webhooks do not answer, or answer with status 500."""
    arrived_share: float
    """The share of expected notifications that must have arrived before the next wave."""

    def __str__(self) -> str:
        return f"--seed {self.seed} --point {self.point.name}"


def make_plan(seed: int, point: Point) -> Plan:
    """Return the plan for this seed and point, always the same.

    With an odd seed relay is killed when it reaches the point for the first time. Every plan causes
    what leads relay to its point, so with an odd seed it is always reached. With an even one it is
    killed at one of the later times, of which there may be too few: see `kill_at_first_hit`.
    """
    rng = random.Random(f"{seed} {point.name}")
    points = [point, *([rng.choice(POINTS)] if rng.random() < SECOND_KILL_SHARE else [])]
    stories = _make_stories(rng, including=point in ENRICH_POINTS or rng.random() < INCLUDE_SHARE)
    restarts_engine = point in SNAPSHOT_POINTS or rng.random() < ENGINE_RESTART_SHARE
    last_deaths = _take_last_deaths(stories, rng) if restarts_engine else []
    waves = _split_into_waves(_interleave(stories, rng), rng)
    cuts = _choose_cuts(len(waves), len(points), rng)
    segments = [
        waves[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(waves)], strict=True)
    ]
    story = _find_own_story(point)
    if story:  # all of it in the first lifetime
        *before, last = story
        segments[1] = [before, *segments[1], [last]]
    lifetimes = [
        Lifetime(
            at,
            hit=1 if at is None or (number == 0 and seed % 2) else rng.randint(1, at.expected_hits),
            before=segments[2 * number],
            during=segments[2 * number + 1],
        )
        for number, at in enumerate([*points, None])
    ]
    lifetimes += _restart_engine(last_deaths, point, rng) if last_deaths else []
    failure_share, arrived_share = rng.choice([0.2, 0.3, 0.4]), rng.choice([0.0, 0.5, 1.0])
    if point in REMOVAL_POINTS | CHANGE_POINTS:  # stored by one commit and changed by another
        arrived_share = 1.0
    if point in RETRY_POINTS:
        failure_share = 0.8
    return Plan(seed, point, tuple(lifetimes), failure_share, arrived_share)


def kill_at_first_hit(plan: Plan) -> Plan:
    """Return the same plan, except that relay is killed when it first reaches the point."""
    first, *others = plan.lifetimes
    return replace(plan, lifetimes=(replace(first, hit=1), *others))


def _find_own_story(point: Point) -> list[ContainerEvent]:
    """Return what has to happen to one more container so that relay reaches a point."""
    if point in REMOVAL_POINTS | INCIDENT_POINTS:
        return REMOVAL_STORY
    return CHANGE_STORY if point in CHANGE_POINTS | INSPECTION_POINTS else []


def _make_stories(rng: random.Random, *, including: bool) -> list[list[ContainerEvent]]:
    """Return what happens to each container."""
    stories: list[list[ContainerEvent]] = []
    left = rng.randint(MIN_EVENTS, MAX_EVENTS)
    while left > 1:
        labels = HIDDEN_EXIT_CODE_LABEL if rng.random() < 0.3 else {}
        if including and len(stories) % 2 == 0:
            labels = INCLUDE_LABELS
        elif not labels and len(stories) % 4 == 1:
            labels = OPTED_OUT_LABELS
        stories.append(_make_story(f"c{len(stories)}", labels, rng))
        left -= len(stories[-1])
    return stories


def _make_story(name: str, labels: Mapping[str, str], rng: random.Random) -> list[ContainerEvent]:
    """Return the events of one container: it starts, may be stopped, dies, and may be removed."""
    requests, cause = ["stop"], Cause.REQUESTED
    if rng.random() < 0.5:
        requests, cause = [], Cause.CRASHED
    # The true exit code of a removed container could not be inspected.
    removed = ["destroy"] if labels != HIDDEN_EXIT_CODE_LABEL and rng.random() < 0.5 else []
    return [
        ContainerEvent(name, action, cause if action == "die" else None, labels)
        for action in ["start", *requests, "die", *removed]
    ]


def _take_last_deaths(
    stories: list[list[ContainerEvent]], rng: random.Random
) -> list[ContainerEvent]:
    """Remove the deaths of some containers from their stories, and return them."""
    deaths: list[ContainerEvent] = []
    for story in rng.sample(stories, rng.randint(2, 4)):
        (place,) = (number for number, it in enumerate(story) if it.action == "die")
        deaths.append(story[place])
        del story[place:]
    return deaths


def _restart_engine(
    deaths: list[ContainerEvent], point: Point, rng: random.Random
) -> list[Lifetime]:
    """Return lifetimes after which the engine has been restarted and has forgotten these deaths.

    One container dies just before relay is killed, the others while relay is dead.
    """
    in_doubt = replace(deaths[0], in_doubt=True)
    forgotten = [replace(death, forgotten=True) for death in deaths[1:]]
    at = point if point in SNAPSHOT_POINTS else rng.choice(POINTS)
    return [
        Lifetime(rng.choice(POINTS), hit=1, before=[], during=[[in_doubt]]),
        Lifetime(at, hit=1, before=[forgotten], during=[]),
        Lifetime(None, hit=1, before=[], during=[]),
    ]


def _interleave(stories: list[list[ContainerEvent]], rng: random.Random) -> list[ContainerEvent]:
    """Mix the stories of three containers at a time."""
    running, events = stories[:3], list[ContainerEvent]()
    later = stories[3:]
    while running:
        story = rng.choice(running)
        events.append(story.pop(0))
        if not story:
            running.remove(story)
            running += [later.pop(0)] if later else []
    return events


def _split_into_waves(
    events: list[ContainerEvent], rng: random.Random
) -> list[list[ContainerEvent]]:
    waves: list[list[ContainerEvent]] = []
    while events:
        size = rng.randint(1, 4)
        waves.append(events[:size])
        events = events[size:]
    return waves


def _choose_cuts(waves: int, killed: int, rng: random.Random) -> list[int]:
    """Return where each segment of the waves ends, except the last one.

    Each lifetime has two segments: the waves while relay is dead, and those while it runs. The
    first lifetime gets half of all waves or more, so that relay reaches its point.
    """
    first = [rng.randint(0, waves // 4), rng.randint(waves // 2, waves * 3 // 4)]
    return [*first, *sorted(rng.randint(first[1], waves) for _ in range(2 * killed - 1))]
