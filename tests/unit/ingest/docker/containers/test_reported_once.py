"""Each death is told once, whatever is lost, whatever comes late, and whenever relay restarts."""

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
NOTED_S = 0.01
"""How much earlier than the event the engine notes the time of a death."""


@dataclass
class Life:
    """One life of a container, by the places of its begin and its end in the history."""

    id: str
    start: int
    end: int | None = None

    @property
    def died_ns(self) -> int:
        """As inspection shows it."""
        assert self.end is not None, "it is over"
        return at(self.end * STEP_S - NOTED_S)


@dataclass
class Engine:
    """Containers that live and die, one event at every step."""

    events: list[Event] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)

    def advance(self, id_: str, remove: bool) -> None:
        """The next thing that befalls a container; one that was removed is replaced."""
        id_ += str(sum(gone[0] == id_ for gone in self.removed))
        place = len(self.events)
        life = next((life for life in self.lives[::-1] if life.id == id_), None)
        if life is not None and life.end is None:
            life.end = place
            self._happen("die", id_, 3)
        elif life is not None and remove:
            self.removed[id_] = place
            self._happen("destroy", id_)
        else:
            self.lives.append(Life(id_, place))
            self._happen("start", id_)

    def _happen(self, action: str, id_: str, number: int | None = None) -> None:
        second = len(self.events) * STEP_S
        self.events.append(make_event(action, number, second=second, id_=id_))

    def inspections(self, place: int) -> list[tuple[ContainerSnapshot, Life | None]]:
        """What inspection shows before the event at this place, with the deaths that it shows."""
        found: dict[str, tuple[ContainerSnapshot, Life | None]] = {}
        for life in self.lives:
            if life.start >= place or self.removed.get(life.id, place) < place:
                continue
            before = found.get(life.id)
            over = life.end is not None and life.end < place
            died = life if over else before[1] if before else None
            sighting = make_container_snapshot(
                id_=life.id,
                started=life.start * STEP_S,
                finished=None if died is None or died.end is None else died.end * STEP_S - NOTED_S,
                exit_code=3 if over else None,
            )
            found[life.id] = sighting, died
        return list(found.values())

    def snapshot(self, place: int) -> Snapshot:
        """A look before the event at this place."""
        gone = {id_ for id_, removed in self.removed.items() if removed < place}
        sightings = tuple(sighting for sighting, _ in self.inspections(place))
        return Snapshot("here", "node-1", at(place * STEP_S - 1), sightings, frozenset(gone))

    def find_life(self, death: Event) -> Life | None:
        """The life that a told death ended; None for one that is only known to be gone."""
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
    """Before which event each is taken, and before which it is digested.

    What happened before one look is heard before the next: they are minutes apart.
    """
    digested = sorted(draw(st.sets(st.integers(0, length), max_size=5)))
    bounds = [0, *digested, length]
    taken = [draw(st.integers(*bounds[number : number + 3 : 2])) for number in range(len(digested))]
    return list(zip(sorted(taken), digested, strict=True))


@settings(max_examples=examples(400), deadline=None)
@given(histories(), st.data())
def test_each_death_is_told_once(engine: Engine, data: st.DataObject) -> None:
    """No death twice; and those whose events all come, or that a look shows, for certain.

    So are those of containers that are known to have run when they are removed.
    """
    length = len(engine.events)
    places = st.sets(st.integers(0, max(0, length - 1)))
    lost, restarts = data.draw(places), data.draw(places)
    looked = {
        digested: taken
        for taken, digested in data.draw(snapshot_times(length))
        if not restarts & set(range(taken, digested))  # a restart forgets what is on its way
    }
    here = new_tracker()
    told: list[Event] = []
    certain: list[Life] = []
    heard: set[int] = set()
    for place in range(length + 1):
        if place in looked:
            taken = looked[place]
            certain += [
                life
                for _, life in engine.inspections(taken)
                if life is not None and _is_news(engine, life, heard)
            ]
            told += here.on_snapshot(engine.snapshot(taken), None)
        if place < length and place not in lost:
            told += here.on_event(engine.events[place], {})
            heard.add(place)
        if place in restarts:
            here = restore_tracker(here)
    deaths = [event for event in told if event.action == "die"]
    _no_death_is_told_twice(engine, deaths)
    vanished = {death.actor.id for death in deaths if engine.find_life(death) is None}
    certain += [life for life in engine.lives if life.start in heard and life.end in heard]
    found = {id(engine.find_life(death)) for death in deaths}
    assert all(id(life) in found for life in certain if life.id not in vanished)
    for life, removed in _removals(engine):
        if {life.start, removed} <= heard:
            assert any(it.actor.id == life.id and it.time_ns >= life.died_ns for it in deaths)


def _removals(engine: Engine) -> list[tuple[Life, int]]:
    """The last life of each container that was removed, and the place of that."""
    last = {life.id: life for life in engine.lives}
    return [(last[id_], place) for id_, place in engine.removed.items()]


def _is_news(engine: Engine, life: Life, heard: set[int]) -> bool:
    """Whether no later thing was heard of the container than this life's begin."""
    return not any(
        engine.events[place].actor.id == life.id and place > life.start for place in heard
    )


def _no_death_is_told_twice(engine: Engine, deaths: list[Event]) -> None:
    assert len({death.id for death in deaths}) == len(deaths)
    known = Counter(
        id(engine.find_life(death)) for death in deaths if engine.find_life(death) is not None
    )
    assert max(known.values(), default=1) == 1
    lived = Counter(life.id for life in engine.lives if life.end is not None)
    assert not Counter(death.actor.id for death in deaths) - lived
