"""What is known of the life of an incident's subject: is it up, is it well, and since when.

All times are the engine's, in nanoseconds since 1970. Everything here is pure: a state and evidence
in, a state out.
"""

from enum import StrEnum

import msgspec
from msgspec.structs import replace

from relay.core.incident import Condition, Resolution
from relay.incidents.evidence import HEALTH_FACTS, PROBLEMS, Evidence, Fact

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS

TIMES_KEPT = 8
"""How many failures are remembered."""

LOOP_FAILURES = 3
LOOP_WINDOW_NS = 10 * MINUTE_NS
"""So many failures within this time are a crash loop. Docker waits up to a minute between restarts
(moby, ``restartmanager.go``), so that is about ten deaths in any ten minutes; of what lives longer
than 10 s, it finds every period up to five minutes."""

MAX_HOLD_NS = HOUR_NS
"""The longest time that flapping extends the wait for a recovery to be confirmed."""

STAYS_DOWN_NS = 2 * MINUTE_NS
"""Twice the longest wait between two restarts by Docker."""

RESTART_MARGIN_NS = SECOND_NS
"""How much longer than computed the wait for a restart may be."""


class Health(StrEnum):
    """The health that a container's own check reports."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Life(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What is known of the life of a subject."""

    engine: str
    """The key of the engine of the last evidence, whose clock the times are of."""
    container: str = ""
    """The id of the container that had the last problem or start."""
    is_up: bool = True
    changed_ns: int = 0
    """The time of the last start, end or removal."""
    started_ns: int = 0
    """The last start; 0 if none is known."""
    died_ns: int = 0
    """When it went down last; 0 if never."""
    restart_wait_ns: int | None = None
    """How long it was down before its last start; None if it was never restarted."""
    will_restart: bool = True
    """False if the engine is known not to restart it any more."""
    health: Health | None = None
    """None if it is not known to have a health check."""
    health_ns: int = 0
    oom_ns: int = 0
    well_since_ns: int | None = None
    """Since when it is up and, if it has a health check, healthy; None if it is not."""
    longest_spell_ns: int = 0
    """The longest time that it was well before it failed again."""
    ended: Resolution | None = None
    """How it ended, if not by a problem."""
    failures_ns: tuple[int, ...] = ()
    """The times of the last deaths that nobody asked for, and of turning unhealthy."""
    unknown_since_ns: int | None = None
    """Since when events may be missing; None if what is known is complete."""

    @property
    def is_well(self) -> bool:
        """Whether it is up and, if it is known to have a health check, healthy."""
        return self.is_up and self.health in (None, Health.HEALTHY)


def is_problem(life: Life | None, evidence: Evidence, finishes_ns: tuple[int, ...] = ()) -> bool:
    """Whether the evidence is a problem of a subject of which ``life`` is known.

    Being unhealthy again, without having been healthy or started since, is none. The third end
    with exit code 0 within ten minutes is one; ``finishes_ns`` are the ends of a subject without
    an incident.
    """
    if evidence.fact is Fact.UNHEALTHY:
        return life is None or life.health is not Health.UNHEALTHY
    if evidence.fact is Fact.FINISHED:
        times_ns = life.failures_ns if life is not None else finishes_ns
        return is_loop((*times_ns, evidence.time_ns))
    return evidence.fact in PROBLEMS


def is_loop(times_ns: tuple[int, ...]) -> bool:
    """Whether the last failures are so close to each other that they are a loop."""
    last = times_ns[-LOOP_FAILURES:]
    return len(last) == LOOP_FAILURES and max(last) - min(last) <= LOOP_WINDOW_NS


def is_news(life: Life, evidence: Evidence) -> bool:
    """Whether the evidence says something about the subject as it is now.

    Evidence about another container than the current one says nothing, unless that is started or
    has a problem. Evidence that is older than what is known of its kind says nothing either.
    """
    fact, time_ns = evidence.fact, evidence.time_ns
    if evidence.container != life.container and fact is not Fact.STARTED and fact not in PROBLEMS:
        return False
    if fact in HEALTH_FACTS:
        return time_ns >= max(life.health_ns, life.started_ns)
    if fact is Fact.OOM:
        return time_ns >= max(life.oom_ns, life.changed_ns)
    return time_ns >= life.changed_ns


def begin(evidence: Evidence, finishes_ns: tuple[int, ...] = ()) -> Life:
    """Return what the first problem of an incident says. Before it the subject counts as up."""
    return apply(Life(evidence.engine, evidence.container, failures_ns=finishes_ns), evidence)


def apply(life: Life, evidence: Evidence) -> Life:
    """Return what is known after the evidence, which is news."""
    fact, time_ns = evidence.fact, evidence.time_ns
    life = replace(life, engine=evidence.engine)
    if fact in HEALTH_FACTS:
        return _apply_health(life, evidence)
    if fact is Fact.STARTED:
        return _start(life, evidence)
    if fact is Fact.STOP_ASKED:
        if life.is_up or life.ended is not None:
            return life  # its end will say so; or it has ended already
        return replace(life, ended=Resolution.STOPPED, changed_ns=time_ns, unknown_since_ns=None)
    if fact is Fact.OOM:
        failed = replace(_fail(life, time_ns), container=evidence.container, oom_ns=time_ns)
        return _update_well(failed, time_ns)
    return _end(life, evidence)


def _apply_health(life: Life, evidence: Evidence) -> Life:
    time_ns = evidence.time_ns
    if evidence.fact is Fact.CHECKED:
        return replace(life, health=Health.STARTING, well_since_ns=None)
    if evidence.fact is Fact.HEALTHY:
        healthy = replace(life, health=Health.HEALTHY, health_ns=time_ns)
        return _update_well(healthy, time_ns)
    if life.health is Health.UNHEALTHY:
        return replace(life, health_ns=time_ns)
    failed = _fail(life, time_ns)
    return replace(
        failed,
        container=evidence.container,
        health=Health.UNHEALTHY,
        health_ns=time_ns,
        failures_ns=_add_failure(failed, time_ns),
    )


def _start(life: Life, evidence: Evidence) -> Life:
    """A new life begins: it is well, unless it has a health check, which begins anew."""
    time_ns = evidence.time_ns
    started = replace(
        life,
        container=evidence.container,
        is_up=True,
        changed_ns=time_ns,
        started_ns=time_ns,
        restart_wait_ns=life.restart_wait_ns if life.is_up else time_ns - life.died_ns,
        will_restart=True,
        health=None if life.health is None else Health.STARTING,
        well_since_ns=None,
        ended=None,
        unknown_since_ns=None,
    )
    return _update_well(started, time_ns)


_ENDS = {
    Fact.FINISHED: Resolution.FINISHED,
    Fact.STOPPED: Resolution.STOPPED,
    Fact.REMOVED: Resolution.REMOVED,
}


def _end(life: Life, evidence: Evidence) -> Life:
    """It ended, was removed, or could not be started."""
    fact, time_ns = evidence.fact, evidence.time_ns
    if fact in (Fact.DIED, Fact.FINISHED, Fact.START_FAILED):
        life = _fail(life, time_ns)
    if fact in (Fact.DIED, Fact.FINISHED):
        life = replace(life, failures_ns=_add_failure(life, time_ns))
    was_down = not life.is_up and fact in (Fact.REMOVED, Fact.START_FAILED)
    return replace(
        life,
        container=evidence.container,
        is_up=False,
        changed_ns=time_ns,
        died_ns=life.died_ns if was_down else time_ns,
        will_restart=life.will_restart and fact is not Fact.START_FAILED,
        well_since_ns=None,
        ended=_ENDS.get(fact),
        unknown_since_ns=None,
    )


def _fail(life: Life, time_ns: int) -> Life:
    """End a spell in which the subject was well."""
    if life.well_since_ns is None:
        return life
    spell_ns = max(time_ns - life.well_since_ns, life.longest_spell_ns)
    return replace(life, well_since_ns=None, longest_spell_ns=spell_ns)


def _add_failure(life: Life, time_ns: int) -> tuple[int, ...]:
    return (*life.failures_ns, time_ns)[-TIMES_KEPT:]


def _update_well(life: Life, time_ns: int) -> Life:
    if life.is_well and life.well_since_ns is None:
        return replace(life, well_since_ns=time_ns)
    return life


def find_end(life: Life, resolve_after_ns: int) -> tuple[int, Resolution] | None:
    """Return when the incident will be over if nothing else happens, and why; None if it will not.

    What fails again and again has to be well for twice as long as it was ever well in between, but
    for an hour at most.
    """
    if life.unknown_since_ns is not None:
        return None
    if life.ended is not None:
        return life.changed_ns + resolve_after_ns, life.ended
    if life.well_since_ns is None:
        return None
    recovery_ns = find_recovery_time(life.longest_spell_ns, resolve_after_ns)
    return life.well_since_ns + recovery_ns, Resolution.RECOVERED


def find_recovery_time(longest_spell_ns: int, resolve_after_ns: int) -> int:
    """Return how long a subject has to be well until its incident is over."""
    return max(resolve_after_ns, min(MAX_HOLD_NS, 2 * longest_spell_ns))


def find_overdue(life: Life) -> int | None:
    """Return from when on it counts as down for good; None if it is up, has ended, or may be up."""
    if life.is_up or life.ended is not None or life.unknown_since_ns is not None:
        return None
    return life.died_ns + STAYS_DOWN_NS if life.will_restart else life.died_ns


def find_condition(life: Life, now_ns: int) -> Condition:
    """Return how the subject is. ``now_ns`` is the engine's time."""
    if life.unknown_since_ns is not None:
        return Condition.UNKNOWN
    if life.is_up:
        return Condition.UNHEALTHY if life.health is Health.UNHEALTHY else Condition.UP
    if life.ended is None and life.restart_wait_ns is not None and life.will_restart:
        # Docker doubles the wait each time (moby, ``restartmanager.go``).
        expected_ns = min(2 * life.restart_wait_ns + RESTART_MARGIN_NS, STAYS_DOWN_NS)
        if now_ns - life.died_ns < expected_ns:
            return Condition.RESTARTING
    return Condition.DOWN


def shift(life: Life, by_ns: int) -> Life:
    """Return the same life by a clock that was set: all times are moved."""

    def moved(time_ns: int) -> int:
        return time_ns + by_ns if time_ns else 0

    return replace(
        life,
        changed_ns=moved(life.changed_ns),
        started_ns=moved(life.started_ns),
        died_ns=moved(life.died_ns),
        health_ns=moved(life.health_ns),
        oom_ns=moved(life.oom_ns),
        well_since_ns=None if life.well_since_ns is None else life.well_since_ns + by_ns,
        failures_ns=tuple(time_ns + by_ns for time_ns in life.failures_ns),
        unknown_since_ns=None if life.unknown_since_ns is None else life.unknown_since_ns + by_ns,
    )
