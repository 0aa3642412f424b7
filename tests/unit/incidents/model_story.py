"""How a subject of the model is: computed from all that was heard of it, in order."""

from dataclasses import dataclass, field

from relay.core.event import Event

SECOND = 1_000_000_000
MINUTE = 60 * SECOND


def fact_of(event: Event) -> str | None:
    """What an event says about its subject."""
    words = {
        ("die", event.cause): "died",
        ("die", "requested"): "stopped",
        ("die", "finished"): "finished",
        ("health_status", event.health): event.health,
        ("start", event.health): "started",
        ("stop", event.health): "stop asked",
        ("destroy", event.health): "removed",
        ("oom", event.health): "oom",
        ("destination_failing", event.health): "died",
        ("destination_recovered", event.health): "started",
    }
    key = (event.action, event.cause if event.action == "die" else event.health)
    return words.get(key)


@dataclass
class Heard:
    """One thing that was heard of a subject."""

    fact: str
    at: int
    container: str


@dataclass
class Story:
    """How a subject is, after all that was heard."""

    container: str
    up: bool = True
    health: str | None = None
    well: int | None = None
    spell: int = 0
    ended: str | None = None
    failures: list[int] = field(default_factory=list)
    changed: int = 0
    started: int = 0
    died: int = 0
    pause: int | None = None
    health_at: int = 0
    oom_at: int = 0
    blind: bool = False

    def is_news(self, it: Heard) -> bool:
        """Whether it says something about the present."""
        problems = ("died", "oom", "unhealthy")
        if it.container != self.container and it.fact not in ("started", *problems):
            return False
        if it.fact in ("healthy", "unhealthy"):
            return it.at >= max(self.health_at, self.started)
        return it.at >= (max(self.oom_at, self.changed) if it.fact == "oom" else self.changed)

    def is_problem(self, it: Heard) -> bool:
        """Whether it is a problem, and not more of the same."""
        if it.fact == "unhealthy":
            return self.health != "unhealthy"
        if it.fact == "finished":
            return loops([*self.failures, it.at])
        return it.fact in ("died", "oom")

    def hear(self, it: Heard) -> None:  # noqa: C901 - all rules at one place
        """One more thing was heard."""
        if it.fact in ("gap", "known"):
            self.blind = it.fact == "gap"
            return
        if not self.is_news(it) or (it.fact == "stop asked" and (self.up or self.ended)):
            return
        fails = it.fact in ("died", "finished", "oom") or (
            it.fact == "unhealthy" and self.health != "unhealthy"
        )
        if fails:
            self.container = it.container
            if self.well is not None:
                self.spell = max(self.spell, it.at - self.well)
            self.well = None
            if it.fact != "oom":
                self.failures = [*self.failures, it.at][-8:]
        if it.fact in ("healthy", "unhealthy"):
            self.health, self.health_at = it.fact, it.at
        elif it.fact == "oom":
            self.oom_at = it.at
        elif it.fact == "started":
            if not self.up:
                self.pause = it.at - self.died
            self.up, self.container, self.started, self.ended = True, it.container, it.at, None
            self.health = self.health and "starting"
            self.well = None
            self.changed, self.blind = it.at, False
        else:
            if self.up or it.fact in ("died", "finished", "stopped"):
                self.died = it.at
            words = {"stop asked": "stopped", "died": None}
            self.up, self.well, self.ended = False, None, words.get(it.fact, it.fact)
            self.changed, self.blind = it.at, False
        if self.well is None and self.up and self.health in (None, "healthy"):
            self.well = it.at

    def condition(self, now: int) -> str:
        """How it is, as a message reports it."""
        if self.blind:
            return "unknown"
        if self.up:
            return "unhealthy" if self.health == "unhealthy" else "up"
        late = self.pause is None or now - self.died >= min(2 * self.pause + SECOND, 2 * MINUTE)
        return "down" if self.ended or late else "restarting"


def loops(times: list[int]) -> bool:
    """Three within ten minutes."""
    return len(times) >= 3 and max(times[-3:]) - min(times[-3:]) <= 10 * MINUTE
