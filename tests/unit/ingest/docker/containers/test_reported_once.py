"""Each death is reported once, despite lost events, late events and restarts."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.core.event import Event
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from tests.support.profiles import examples
from tests.unit.ingest.docker.samples import (
    at,
    make_container_snapshot,
    make_event,
    new_tracker,
    restore_tracker,
)

STEP_S = 10
NOTED_EARLIER_S = 0.01
"""How much earlier than the event the engine notes the time of a death."""


@dataclass
class Life:
    """One life of a container, by the positions of its start and its end in the history."""

    id: str
    start: int
    end: int | None = None

    @property
    def died_ns(self) -> int:
        """The time of its death as inspection shows it."""
        assert self.end is not None, "it is over"
        return at(self.end * STEP_S - NOTED_EARLIER_S)


@dataclass
class Engine:
    """Containers that live and die, one event at every step."""

    events: list[Event] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)

    def advance(self, id_: str, remove: bool) -> None:
        """Let the next thing happen to a container; a removed one is replaced."""
        id_ += str(sum(gone[0] == id_ for gone in self.removed))
        position = len(self.events)
        life = next((life for life in self.lives[::-1] if life.id == id_), None)
        if life is not None and life.end is None:
            life.end = position
            self._happen("die", id_, 3)
        elif life is not None and remove:
            self.removed[id_] = position
            self._happen("destroy", id_)
        else:
            self.lives.append(Life(id_, position))
            self._happen("start", id_)

    def _happen(self, action: str, id_: str, number: int | None = None) -> None:
        second = len(self.events) * STEP_S
        self.events.append(make_event(action, number, second=second, id_=id_))

    def inspections(self, position: int) -> list[tuple[ContainerSnapshot, Life | None]]:
        """Return what inspection shows before an event, with the lives that ended."""
        found: dict[str, tuple[ContainerSnapshot, Life | None]] = {}
        for life in self.lives:
            if life.start >= position or self.removed.get(life.id, position) < position:
                continue
            before = found.get(life.id)
            over = life.end is not None and life.end < position
            died = life if over else before[1] if before else None
            snapshot = make_container_snapshot(
                id_=life.id,
                started=life.start * STEP_S,
                finished=None
                if died is None or died.end is None
                else died.end * STEP_S - NOTED_EARLIER_S,
                exit_code=3 if over else None,
            )
            found[life.id] = snapshot, died
        return list(found.values())

    def snapshot(self, position: int) -> Snapshot:
        """Return a snapshot before the event at this position."""
        gone = {id_ for id_, removed in self.removed.items() if removed < position}
        snapshots = tuple(snapshot for snapshot, _ in self.inspections(position))
        return Snapshot("here", "node-1", at(position * STEP_S - 1), snapshots, frozenset(gone))

    def find_life(self, death: Event) -> Life | None:
        """Return the life that a reported death ended; None if it only shows that one is gone."""
        for life in self.lives:
            if life.end is None or life.id != death.actor.id:
                continue
            if death.time_ns in (life.died_ns, at(life.end * STEP_S)):
                return life
        return None


@st.composite
def histories(draw: st.DrawFn) -> Engine:
    engine = Engine()
    for id_, remove in draw(
        st.lists(
            st.tuples(st.sampled_from("ab"), st.sampled_from([False] * 4 + [True])), max_size=24
        )
    ):
        engine.advance(id_, remove)
    return engine


@st.composite
def snapshot_times(draw: st.DrawFn, length: int) -> list[tuple[int, int]]:
    """Draw before which event each snapshot is taken, and before which it is processed.

    The events before one snapshot arrive before the next is taken: they are minutes apart.
    """
    processed_at = sorted(draw(st.sets(st.integers(0, length), max_size=5)))
    bounds = [0, *processed_at, length]
    taken = [
        draw(st.integers(*bounds[number : number + 3 : 2])) for number in range(len(processed_at))
    ]
    return list(zip(sorted(taken), processed_at, strict=True))


@settings(max_examples=examples(400), deadline=None)
@given(histories(), st.data())
def test_each_death_is_reported_once(engine: Engine, data: st.DataObject) -> None:
    """No death is reported twice.

    Deaths whose events all arrive, and deaths that a snapshot shows, are reported for certain. So
    are those of containers that are known to have run when they are removed.
    """
    length = len(engine.events)
    positions = st.sets(st.integers(0, max(0, length - 1)))
    lost, restarts = data.draw(positions), data.draw(positions)
    processed = {
        processed_at: taken
        for taken, processed_at in data.draw(snapshot_times(length))
        if not restarts & set(range(taken, processed_at))  # a restart forgets what is on its way
    }
    tracker = new_tracker()
    reported: list[Event] = []
    certain: list[Life] = []
    received: set[int] = set()
    for position in range(length + 1):
        if position in processed:
            taken = processed[position]
            certain += [
                life
                for _, life in engine.inspections(taken)
                if life is not None and _is_latest(engine, life, received)
            ]
            reported += tracker.on_snapshot(engine.snapshot(taken), None)
        if position < length and position not in lost:
            reported += tracker.on_event(engine.events[position])
            received.add(position)
        if position in restarts:
            tracker = restore_tracker(tracker)
    deaths = [event for event in reported if event.action == "die"]
    _check_no_death_is_reported_twice(engine, deaths)
    vanished = {death.actor.id for death in deaths if engine.find_life(death) is None}
    certain += [life for life in engine.lives if life.start in received and life.end in received]
    found = {id(engine.find_life(death)) for death in deaths}
    assert all(id(life) in found for life in certain if life.id not in vanished)
    for life, removed in _removals(engine):
        if {life.start, removed} <= received:
            assert any(it.actor.id == life.id and it.time_ns >= life.died_ns for it in deaths)


def _removals(engine: Engine) -> list[tuple[Life, int]]:
    """Return the last life of each removed container, and the position of its removal."""
    last = {life.id: life for life in engine.lives}
    return [(last[id_], position) for id_, position in engine.removed.items()]


def _is_latest(engine: Engine, life: Life, received: set[int]) -> bool:
    """Whether no later event of the container than this life's start was received."""
    return not any(
        engine.events[position].actor.id == life.id and position > life.start
        for position in received
    )


def _check_no_death_is_reported_twice(engine: Engine, deaths: list[Event]) -> None:
    assert len({death.id for death in deaths}) == len(deaths)
    known = Counter(
        id(engine.find_life(death)) for death in deaths if engine.find_life(death) is not None
    )
    assert max(known.values(), default=1) == 1
    lived = Counter(life.id for life in engine.lives if life.end is not None)
    assert not Counter(death.actor.id for death in deaths) - lived
