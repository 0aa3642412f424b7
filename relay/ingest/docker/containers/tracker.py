"""What happened to each container of one engine: why it died, and whether that was told."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from relay.core.container import Container
from relay.core.event import Event
from relay.ingest.docker.containers.cause import cause, follow, parted, questions
from relay.ingest.docker.containers.inference import (
    Look,
    Unheard,
    is_untold,
    oom_was_inferred,
    unseen_death,
    unseen_end,
    unsent_oom,
    was_inferred,
)
from relay.ingest.docker.containers.registry import Roster, kept_labels
from relay.ingest.docker.containers.stop_evidence import SHOWING, may_show, shows_request
from relay.ingest.docker.cursor import CLOCK_DOUBT_NS
from relay.ingest.docker.engine.inspection import Sighting
from relay.ingest.docker.engine.parser import LAST_NS

_FOLLOWED = frozenset({"create", "start", "restart", "kill", "stop", "oom", "die", "rename"})
_ENDINGS = frozenset({"destroy", "remove"})
"""The container is gone; the second is Podman's."""
_NO_LABELS = frozenset(
    {"name", "image", "exitCode", "containerExitCode", "signal", "execID", "execDuration"}
)
"""What is among an event's attributes besides labels, unless a label has that name."""

JUST_STARTED_NS = 60_000_000_000
"""A start so shortly before a look may not be in it."""


class Chronicle:
    """Follows the containers of one engine through their events, and through looks at them."""

    def __init__(self, roster: Roster, *, podman: bool = False) -> None:
        self.roster = roster
        self.podman = podman
        """Whether the engine is Podman, some of whose events mean something else."""

    def questions(self, events: Iterable[Event]) -> set[str]:
        """The ids of the containers that are to be inspected before `hear` judges the events."""
        followed = [event for event in events if _is_followed(event) and event.actor.id]
        return questions((event, self.roster.get(event.actor.id)) for event in followed)

    def requested(self, events: Sequence[Event], *, podman: bool) -> set[str]:
        """The ids of the deaths that somebody asked for, as what comes behind them shows."""
        if SHOWING.isdisjoint([event.action for event in events]):  # as in most batches
            return set()
        return {
            death.id
            for _, death, behind in _deaths(events)
            if shows_request(death, behind, podman=podman)
        }

    def unsettled(self, events: Sequence[Event], *, podman: bool) -> bool:
        """Whether what may yet come behind them can show that somebody asked for a death."""
        return any(
            may_show(death, behind, self._before(death, before), podman=podman)
            for before, death, behind in _deaths(events)
        )

    def _before(self, death: Event, events: Sequence[Event]) -> Container | None:
        """What will be known of a container once these events are heard, but for inspections."""
        container = self.roster.get(death.actor.id)
        for event in events:
            if _is_followed(event):
                container = follow(container or self._introduced(event), event)
        return container

    def hear(
        self,
        event: Event,
        sightings: Mapping[str, Sighting],
        unheard: Unheard | None = None,
        *,
        requested: bool = False,
    ) -> list[Event]:
        """What is to be told of one event, which is heard once, in the order of the stream.

        A ``die`` gets its cause and its true exit code; ``requested`` says that what comes behind
        it shows that somebody asked for it, ``unheard`` is the stretch in which that may have been
        missed. One that was inferred already is not told again. An ``oom`` that the engine did not
        send, and inspection shows, stands before its ``die``. One whose ``die`` did not come is
        told when the container is removed.
        """
        if event.type == "container" and event.action in _ENDINGS:
            return [*self._removed(event), event]
        if not _is_followed(event):
            return [event]
        if event.action == "die" and self.roster.end_was_inferred(event.actor.id):
            return []
        if not event.actor.id:  # of whom, nobody can know
            return _told(self._introduced(event), event, None, unheard)
        seen = sightings.get(event.actor.id)
        container = self._known(event, seen)
        if requested or (self.podman and event.action == "restart" and not container.dead):
            container = replace(container, asked_ns=event.time_ns)
        told = _told(container, event, seen, unheard)
        container = follow(container, event)
        if len(told) > 1:
            container = replace(container, oom_inferred_ns=event.time_ns)
        self.roster.put(container)
        return told

    def look(self, look: Look, unheard: Unheard | None) -> list[Event]:
        """The deaths that no event told of, inferred; what was seen is known from now on."""
        told: list[Event] = []
        for seen in look.sightings:
            if self.roster.destroyed(seen.id):
                continue
            known = self.roster.get(seen.id)
            container = _refreshed(known or Container(seen.id), seen)
            if is_untold(known, seen, self.roster.assumed_ns):
                before, container = parted(container, _next_start_ns(container, seen))
                told += unseen_death(before, seen, look, unheard)
                container = _inferred(container, seen)
            elif known is not None and _was_reset(known, seen, look):
                told.append(unseen_end(container, look))
                container = replace(
                    container, inferred_ns=known.started_ns, died_ns=known.started_ns
                )
            self.roster.put(_as_seen(container, seen, look))
        for id_ in look.missing:
            told += self._missing(id_, look)
        return told

    def untold(self, sightings: Iterable[Sighting]) -> bool:
        """Whether a look at these would tell of a death, if it were digested now."""
        return any(
            is_untold(self.roster.get(seen.id), seen, self.roster.assumed_ns)
            and not self.roster.destroyed(seen.id)
            for seen in sightings
        )

    def knows_as_dead(self, id_: str) -> bool:
        """Whether the container's last life is known to be over."""
        container = self.roster.get(id_)
        return container is not None and container.dead

    def missing(self, listed: Collection[str]) -> frozenset[str]:
        """The ids of those that are known and are not among those that the engine lists."""
        return frozenset(known.id for known in self.roster.all() if known.id not in listed)

    def _known(self, event: Event, seen: Sighting | None) -> Container:
        """What is known of the event's container before it, with the names that it gives."""
        container = self.roster.get(event.actor.id) or self._introduced(event)
        if seen is not None:
            container = _refreshed(container, seen)
        name, image = event.actor.name or container.name, event.actor.image or container.image
        if (name, image) == (container.name, container.image):
            return container
        return replace(container, name=name, image=image)

    def _introduced(self, event: Event) -> Container:
        """A container, by the first of its events.

        ``create`` and ``start`` have nothing but labels beside the name and the image, so a label
        shows there that will hide a real value in later ones. In Podman's the real values win.
        """
        attributes = event.actor.attributes
        bare = event.action in ("create", "start") and not self.podman
        return Container(
            id=event.actor.id,
            labels=kept_labels({k: v for k, v in attributes.items() if k not in _NO_LABELS}),
            exit_code_hidden=bare and "exitCode" in attributes,
            signal_hidden=bare and "signal" in attributes,
        )

    def _removed(self, event: Event) -> list[Event]:
        """The end of a container that is removed, if nothing told of it."""
        container = self.roster.get(event.actor.id)
        unseen = container is not None and _is_open(container)
        if container is not None and (container.started_ns or 0) > event.time_ns:
            unseen = False  # the clock was set back: nothing tells whether its death was told
        self.roster.drop(event.actor.id, end_inferred=unseen)
        if container is None or not unseen:
            return []
        return [unseen_end(container, Look(event.engine, event.host, event.time_ns))]

    def _missing(self, id_: str, look: Look) -> list[Event]:
        """It is gone; if it was running it died, and nothing told of that."""
        container = self.roster.get(id_)
        if container is None:
            return []
        if not _is_open(container):
            self.roster.drop(id_)
            return []
        # Should its events still come, they belong to the life whose end is told here.
        self.roster.put(replace(container, inferred_ns=container.started_ns))
        return [unseen_end(container, look)]


def _is_open(container: Container) -> bool:
    """Whether it is known to run, and its end was not told either."""
    return container.running and container.inferred_ns != container.started_ns


def _was_reset(known: Container, seen: Sighting, look: Look) -> bool:
    """Whether it ran, and now looks as if it never had, or as if it had only started since.

    So Podman after a reboot of its host. A container that just starts can look so too.
    """
    started_ns = known.started_ns or 0
    again = seen.alive and (seen.started_ns or 0) > started_ns + CLOCK_DOUBT_NS
    forgotten = (seen.finished_ns or 0) < started_ns - CLOCK_DOUBT_NS
    return (
        _is_open(known)
        and forgotten
        and (again or not seen.alive)
        and started_ns < look.taken_ns - JUST_STARTED_NS
    )


def _is_followed(event: Event) -> bool:
    return event.type == "container" and event.action in _FOLLOWED


def _deaths(events: Sequence[Event]) -> Iterator[tuple[list[Event], Event, list[Event]]]:
    """Each ``die``, between the events of the same container before it and behind it."""
    dying = {event.actor.id for event in events if event.action == "die"}
    if not dying:
        return
    lives: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.type == "container" and event.actor.id in dying:
            lives[event.actor.id].append(event)
    for life in lives.values():
        for place, event in enumerate(life):
            if event.action == "die":
                yield life[:place], event, life[place + 1 :]


def _told(
    container: Container, event: Event, seen: Sighting | None, unheard: Unheard | None
) -> list[Event]:
    match event.action:
        case "die" if was_inferred(container, event):
            return []
        case "die":
            return _judged(container, event, seen, unheard)
        case "oom" if oom_was_inferred(container, event):
            return []
        case _:
            return [event]


def _judged(
    container: Container, event: Event, seen: Sighting | None, unheard: Unheard | None
) -> list[Event]:
    """A ``die`` with its cause, and where needed the ``oom`` before it."""
    shown = seen if seen is not None and _shows(seen, event) else None
    exit_code = event.exit_code
    if container.exit_code_hidden:
        exit_code = shown.exit_code if shown else None
    oom_seen = shown is not None and shown.oom_killed
    deaf = unheard is not None and unheard.may_explain(container, event.time_ns)
    why = cause(container, event.time_ns, exit_code, oom_seen=oom_seen, unheard=deaf)
    death = replace(event, exit_code=exit_code, cause=why)
    if oom_seen and container.oom_ns is None:
        return [unsent_oom(event), death]
    return [death]


def _shows(seen: Sighting, death: Event) -> bool:
    """Whether an inspection shows this death, and not an earlier or a later life."""
    times = (seen.started_ns or 0, seen.finished_ns or 0)
    return not seen.alive and seen.finished_ns is not None and max(times) <= death.time_ns


def _refreshed(container: Container, seen: Sighting) -> Container:
    return replace(
        container,
        name=seen.name or container.name,
        image=seen.image or container.image,
        labels=kept_labels(seen.labels),
        exit_code_hidden="exitCode" in seen.hiding,
        signal_hidden="signal" in seen.hiding,
        stop_signal=seen.stop_signal or container.stop_signal,
    )


def _next_start_ns(container: Container, seen: Sighting) -> int:
    """The first start that is known behind the death that is seen."""
    started_ns = max(container.started_ns or 0, seen.started_ns or 0)
    return started_ns if started_ns > (seen.finished_ns or 0) else LAST_NS


def _inferred(container: Container, seen: Sighting) -> Container:
    """With the death that is seen, which was inferred."""
    inferred_ns = seen.finished_ns or 0
    if not seen.alive:
        inferred_ns = max(inferred_ns, seen.started_ns or 0)
    return replace(
        container,
        inferred_ns=inferred_ns,
        oom_inferred_ns=seen.finished_ns if seen.oom_killed else container.oom_inferred_ns,
    )


def _as_seen(container: Container, seen: Sighting, look: Look) -> Container:
    """With the times that are seen, unless events have told of later ones since."""
    known_ns, seen_ns = container.started_ns or 0, seen.started_ns or 0
    started_ns = max(known_ns, seen_ns) or None
    if seen.alive or seen.finished_ns is None:
        return replace(container, started_ns=started_ns)
    # A short life can seem to end before it starts: Podman's times are coarse, and Docker sends
    # the event of a start when it is over with it.
    same_life = known_ns < max(seen_ns, look.taken_ns - 2 * CLOCK_DOUBT_NS) + CLOCK_DOUBT_NS
    died_ns = max(container.died_ns or 0, seen.finished_ns, seen_ns, known_ns if same_life else 0)
    return replace(container, started_ns=started_ns, died_ns=died_ns)
