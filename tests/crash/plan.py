"""What one run does, all of it out of its seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from relay.event import Cause
from tests.crash.points import POINTS, Point

LEAST, MOST = 20, 60
"""Events of a run; the engine remembers 256, so none is ever forgotten."""

AGAIN = 0.5
"""The share of runs in which relay is killed in its second life, too."""


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happens to a container."""

    container: str
    action: str
    cause: Cause | None = None
    """What relay is to say of it."""


Waves = Sequence[Sequence[Happening]]
"""What happens together, one after the other."""


@dataclass(frozen=True, slots=True)
class Life:
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
    lives: tuple[Life, ...]
    """The last is not killed."""
    failing: float
    """The share of requests that are not answered, or by 500."""
    waiting: float
    """What share of what has happened must have arrived before the next wave."""

    def __str__(self) -> str:
        return f"--seed {self.seed} --point {self.point.name}"


def plan(seed: int, point: Point) -> Plan:
    """The run of this seed at this point: the same one every time.

    With an odd seed it is killed the first time that it gets there, which it does in every run.
    """
    chance = random.Random(f"{seed} {point.name}")
    points = [point, *([chance.choice(POINTS)] if chance.random() < AGAIN else [])]
    waves = _waves(_happenings(chance), chance)
    cuts = _cuts(len(waves), len(points), chance)
    parts = [waves[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(waves)], strict=True)]
    lives = [
        Life(
            at,
            hit=1 if at is None or (number == 0 and seed % 2) else chance.randint(1, at.most),
            before=parts[2 * number],
            during=parts[2 * number + 1],
        )
        for number, at in enumerate([*points, None])
    ]
    failing, waiting = chance.choice([0.2, 0.3, 0.4]), chance.choice([0.0, 0.5, 1.0])
    return Plan(seed, point, tuple(lives), failing, waiting)


def _happenings(chance: random.Random) -> list[Happening]:
    """Containers start, are stopped or not, and die; those of several are mixed."""
    stories: list[list[Happening]] = []
    left = chance.randint(LEAST, MOST)
    while left > 1:
        stories.append(_story(f"c{len(stories)}", chance))
        left -= len(stories[-1])
    running, mixed = stories[:3], list[Happening]()
    waiting = stories[3:]
    while running:
        story = chance.choice(running)
        mixed.append(story.pop(0))
        if not story:
            running.remove(story)
            running += [waiting.pop(0)] if waiting else []
    return mixed


def _story(name: str, chance: random.Random) -> list[Happening]:
    if chance.random() < 0.5:
        asked = [Happening(name, "stop")]
        cause = Cause.REQUESTED
    else:
        asked, cause = [], Cause.CRASHED
    return [Happening(name, "start"), *asked, Happening(name, "die", cause)]


def _waves(happenings: list[Happening], chance: random.Random) -> list[list[Happening]]:
    waves: list[list[Happening]] = []
    while happenings:
        size = chance.randint(1, 4)
        waves.append(happenings[:size])
        happenings = happenings[size:]
    return waves


def _cuts(waves: int, killed: int, chance: random.Random) -> list[int]:
    """Where the parts end, but for the last: a dead one and a living one for each life.

    The first life gets enough to reach its point.
    """
    first = [chance.randint(0, waves // 4), chance.randint(waves // 2, waves * 3 // 4)]
    return [*first, *sorted(chance.randint(first[1], waves) for _ in range(2 * killed - 1))]
