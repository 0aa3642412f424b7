"""What one run does, all of it out of its seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from relay.core.event import Cause
from tests.crash.points import ENRICH_POINTS, POINTS, SNAPSHOT_POINTS, Point

MIN_EVENTS, MAX_EVENTS = 20, 60
"""Events of a run, about; the engine remembers 256, so it forgets none unless it is restarted."""

SECOND_KILL_SHARE = 0.5
"""The share of runs in which relay is killed in its second life, too."""

ENGINE_RESTART_SHARE = 0.25
"""The share of runs at whose end the engine is restarted while relay is dead."""

INCLUDE_SHARE = 0.1
"""The share of runs in which some containers are told of with more than their events. What loses
that to a kill is held for a while, so it is a small one."""

INCLUDE_LABEL = {"tell": "more"}
"""The label of such a container."""

HIDDEN_EXIT_CODE_LABEL = {"exitCode": "0"}
"""The label that hides an exit code: only the engine's inspection tells the true one."""

EXIT_CODE = 3
"""Of every death."""


@dataclass(frozen=True, slots=True)
class ContainerEvent:
    """Something that happens to a container."""

    container: str
    action: str
    cause: Cause | None = None
    """What relay is to say of it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """The container's."""
    forgotten: bool = False
    """Whether the engine forgets it, and all that was before it, so that relay has to infer it."""
    in_doubt: bool = False
    """Whether the engine forgets it soon: if relay is killed before it has taken it in, it has to
    infer it, too."""


Waves = Sequence[Sequence[ContainerEvent]]
"""What happens together, one after the other."""


@dataclass(frozen=True, slots=True)
class Lifetime:
    """One life of relay."""

    point: Point | None
    """Where it is killed; None for nowhere."""
    hit: int
    before: Waves
    """Happens while relay is dead."""
    during: Waves


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    seed: int
    point: Point
    """The first life's."""
    lifetimes: tuple[Lifetime, ...]
    """The last is not killed."""
    failure_share: float
    """The share of requests that are not answered, or by 500."""
    arrived_share: float
    """What share of what has happened must have arrived before the next wave."""

    def __str__(self) -> str:
        return f"--seed {self.seed} --point {self.point.name}"


def make_plan(seed: int, point: Point) -> Plan:
    """The run of this seed at this point: the same one every time.

    With an odd seed it is killed the first time that it gets there, which it does in every run.
    """
    chance = random.Random(f"{seed} {point.name}")
    points = [point, *([chance.choice(POINTS)] if chance.random() < SECOND_KILL_SHARE else [])]
    stories = _make_stories(
        chance, including=point in ENRICH_POINTS or chance.random() < INCLUDE_SHARE
    )
    restarts_engine = point in SNAPSHOT_POINTS or chance.random() < ENGINE_RESTART_SHARE
    last = _take_last_deaths(stories, chance) if restarts_engine else []
    waves = _split_into_waves(_interleave(stories, chance), chance)
    cuts = _choose_cuts(len(waves), len(points), chance)
    parts = [waves[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(waves)], strict=True)]
    lives = [
        Lifetime(
            at,
            hit=1
            if at is None or (number == 0 and seed % 2)
            else chance.randint(1, at.expected_hits),
            before=parts[2 * number],
            during=parts[2 * number + 1],
        )
        for number, at in enumerate([*points, None])
    ]
    lives += _restart_engine(last, point, chance) if last else []
    failing, waiting = chance.choice([0.2, 0.3, 0.4]), chance.choice([0.0, 0.5, 1.0])
    return Plan(seed, point, tuple(lives), failing, waiting)


def _make_stories(chance: random.Random, *, including: bool) -> list[list[ContainerEvent]]:
    """What happens to each container."""
    stories: list[list[ContainerEvent]] = []
    left = chance.randint(MIN_EVENTS, MAX_EVENTS)
    while left > 1:
        labels = HIDDEN_EXIT_CODE_LABEL if chance.random() < 0.3 else {}
        if including and len(stories) % 2 == 0:
            labels = INCLUDE_LABEL
        stories.append(_make_story(f"c{len(stories)}", labels, chance))
        left -= len(stories[-1])
    return stories


def _make_story(
    name: str, labels: Mapping[str, str], chance: random.Random
) -> list[ContainerEvent]:
    """A container starts, is stopped or not, dies, and is removed or not."""
    asked, cause = ["stop"], Cause.REQUESTED
    if chance.random() < 0.5:
        asked, cause = [], Cause.CRASHED
    # Of one that is gone nobody could ask the true exit code.
    removed = ["destroy"] if labels != HIDDEN_EXIT_CODE_LABEL and chance.random() < 0.5 else []
    return [
        ContainerEvent(name, action, cause if action == "die" else None, labels)
        for action in ["start", *asked, "die", *removed]
    ]


def _take_last_deaths(
    stories: list[list[ContainerEvent]], chance: random.Random
) -> list[ContainerEvent]:
    """The deaths of some containers, which are taken out of their stories."""
    deaths: list[ContainerEvent] = []
    for story in chance.sample(stories, chance.randint(2, 4)):
        (place,) = (number for number, it in enumerate(story) if it.action == "die")
        deaths.append(story[place])
        del story[place:]
    return deaths


def _restart_engine(
    deaths: list[ContainerEvent], point: Point, chance: random.Random
) -> list[Lifetime]:
    """One dies as relay is killed, the others while it is dead; then the engine forgets it all."""
    in_doubt = replace(deaths[0], in_doubt=True)
    unheard = [replace(death, forgotten=True) for death in deaths[1:]]
    at = point if point in SNAPSHOT_POINTS else chance.choice(POINTS)
    return [
        Lifetime(chance.choice(POINTS), hit=1, before=[], during=[[in_doubt]]),
        Lifetime(at, hit=1, before=[unheard], during=[]),
        Lifetime(None, hit=1, before=[], during=[]),
    ]


def _interleave(stories: list[list[ContainerEvent]], chance: random.Random) -> list[ContainerEvent]:
    """Of three containers at a time what happens is mixed."""
    running, mixed = stories[:3], list[ContainerEvent]()
    waiting = stories[3:]
    while running:
        story = chance.choice(running)
        mixed.append(story.pop(0))
        if not story:
            running.remove(story)
            running += [waiting.pop(0)] if waiting else []
    return mixed


def _split_into_waves(
    happenings: list[ContainerEvent], chance: random.Random
) -> list[list[ContainerEvent]]:
    waves: list[list[ContainerEvent]] = []
    while happenings:
        size = chance.randint(1, 4)
        waves.append(happenings[:size])
        happenings = happenings[size:]
    return waves


def _choose_cuts(waves: int, killed: int, chance: random.Random) -> list[int]:
    """Where the parts end, but for the last: a dead one and a living one for each life.

    The first life gets enough to reach its point.
    """
    first = [chance.randint(0, waves // 4), chance.randint(waves // 2, waves * 3 // 4)]
    return [*first, *sorted(chance.randint(first[1], waves) for _ in range(2 * killed - 1))]
