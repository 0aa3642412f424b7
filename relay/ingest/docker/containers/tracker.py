"""What happened to each container of one engine: why it died, and whether that was told."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from relay.core.container import Container
from relay.core.event import Event
from relay.ingest.docker.containers.cause import (
    apply_event,
    containers_to_inspect,
    find_cause,
    split_requests,
)
from relay.ingest.docker.containers.inference import (
    BlindWindow,
    Snapshot,
    infer_death,
    infer_end,
    infer_oom,
    is_unreported,
    matches_inferred,
    matches_inferred_oom,
)
from relay.ingest.docker.containers.registry import ContainerRegistry, limit_labels
from relay.ingest.docker.containers.stop_evidence import (
    EVIDENCE,
    may_prove_requested,
    proves_requested,
)
from relay.ingest.docker.cursor import CLOCK_TOLERANCE_NS
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.parser import MAX_TIME_NS

_TRACKED_ACTIONS = frozenset({"create", "start", "restart", "kill", "stop", "oom", "die", "rename"})
_REMOVAL_ACTIONS = frozenset({"destroy", "remove"})
"""The container is gone; the second is Podman's."""
_NON_LABEL_ATTRIBUTES = frozenset(
    {"name", "image", "exitCode", "containerExitCode", "signal", "execID", "execDuration"}
)
"""What is among an event's attributes besides labels, unless a label has that name."""

START_GRACE_NS = 60_000_000_000
"""A start so shortly before a look may not be in it."""


class ContainerTracker:
    """Follows the containers of one engine through their events, and through looks at them."""

    def __init__(self, registry: ContainerRegistry, *, podman: bool = False) -> None:
        self.registry = registry
        self.podman = podman
        """Whether the engine is Podman, some of whose events mean something else."""

    def containers_to_inspect(self, events: Iterable[Event]) -> set[str]:
        """The ids of the containers that are to be inspected before `hear` judges the events."""
        followed = [event for event in events if _is_tracked(event) and event.actor.id]
        return containers_to_inspect(
            (event, self.registry.get(event.actor.id)) for event in followed
        )

    def find_requested(self, events: Sequence[Event], *, podman: bool) -> set[str]:
        """The ids of the deaths that somebody asked for, as what comes behind them shows."""
        if EVIDENCE.isdisjoint([event.action for event in events]):  # as in most batches
            return set()
        return {
            death.id
            for _, death, behind in _iterate_deaths(events)
            if proves_requested(death, behind, podman=podman)
        }

    def awaits_evidence(self, events: Sequence[Event], *, podman: bool) -> bool:
        """Whether what may yet come behind them can show that somebody asked for a death."""
        return any(
            may_prove_requested(death, behind, self._state_before(death, before), podman=podman)
            for before, death, behind in _iterate_deaths(events)
        )

    def _state_before(self, death: Event, events: Sequence[Event]) -> Container | None:
        """What will be known of a container once these events are heard, but for inspections."""
        container = self.registry.get(death.actor.id)
        for event in events:
            if _is_tracked(event):
                container = apply_event(container or self._new_container(event), event)
        return container

    def on_event(
        self,
        event: Event,
        snapshots: Mapping[str, ContainerSnapshot],
        blind_window: BlindWindow | None = None,
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
        if event.type == "container" and event.action in _REMOVAL_ACTIONS:
            return [*self._on_removal(event), event]
        if not _is_tracked(event):
            return [event]
        if event.action == "die" and self.registry.has_inferred_end(event.actor.id):
            return []
        if not event.actor.id:  # of whom, nobody can know
            return _emit(self._new_container(event), event, None, blind_window)
        seen = snapshots.get(event.actor.id)
        container = self._state_with_names(event, seen)
        if requested or (self.podman and event.action == "restart" and not container.is_dead):
            container = replace(container, asked_ns=event.time_ns)
        told = _emit(container, event, seen, blind_window)
        container = apply_event(container, event)
        if len(told) > 1:
            container = replace(container, oom_inferred_ns=event.time_ns)
        self.registry.put(container)
        return told

    def on_snapshot(self, snapshot: Snapshot, blind_window: BlindWindow | None) -> list[Event]:
        """The deaths that no event told of, inferred; what was seen is known from now on."""
        told: list[Event] = []
        for seen in snapshot.containers:
            if self.registry.is_destroyed(seen.id):
                continue
            known = self.registry.get(seen.id)
            container = _apply_inspection(known or Container(seen.id), seen)
            if is_unreported(known, seen, self.registry.reported_until_ns):
                before, container = split_requests(container, _next_start_ns(container, seen))
                told += infer_death(before, seen, snapshot, blind_window)
                container = _mark_inferred(container, seen)
            elif known is not None and _was_reset(known, seen, snapshot):
                told.append(infer_end(container, snapshot))
                container = replace(
                    container, inferred_ns=known.started_ns, died_ns=known.started_ns
                )
            self.registry.put(_update_times(container, seen, snapshot))
        for id_ in snapshot.missing:
            told += self._on_missing(id_, snapshot)
        return told

    def has_unreported(self, snapshots: Iterable[ContainerSnapshot]) -> bool:
        """Whether a look at these would tell of a death, if it were digested now."""
        return any(
            is_unreported(self.registry.get(seen.id), seen, self.registry.reported_until_ns)
            and not self.registry.is_destroyed(seen.id)
            for seen in snapshots
        )

    def is_known_dead(self, id_: str) -> bool:
        """Whether the container's last life is known to be over."""
        container = self.registry.get(id_)
        return container is not None and container.is_dead

    def find_missing(self, listed: Collection[str]) -> frozenset[str]:
        """The ids of those that are known and are not among those that the engine lists."""
        return frozenset(known.id for known in self.registry.list_all() if known.id not in listed)

    def _state_with_names(self, event: Event, inspected: ContainerSnapshot | None) -> Container:
        """What is known of the event's container before it, with the names that it gives."""
        container = self.registry.get(event.actor.id) or self._new_container(event)
        if inspected is not None:
            container = _apply_inspection(container, inspected)
        name, image = event.actor.name or container.name, event.actor.image or container.image
        if (name, image) == (container.name, container.image):
            return container
        return replace(container, name=name, image=image)

    def _new_container(self, event: Event) -> Container:
        """A container, by the first of its events.

        ``create`` and ``start`` have nothing but labels beside the name and the image, so a label
        shows there that will hide a real value in later ones. In Podman's the real values win.
        """
        attributes = event.actor.attributes
        bare = event.action in ("create", "start") and not self.podman
        return Container(
            id=event.actor.id,
            labels=limit_labels(
                {k: v for k, v in attributes.items() if k not in _NON_LABEL_ATTRIBUTES}
            ),
            exit_code_hidden=bare and "exitCode" in attributes,
            signal_hidden=bare and "signal" in attributes,
        )

    def _on_removal(self, event: Event) -> list[Event]:
        """The end of a container that is removed, if nothing told of it."""
        container = self.registry.get(event.actor.id)
        unseen = container is not None and _is_end_unreported(container)
        if container is not None and (container.started_ns or 0) > event.time_ns:
            unseen = False  # the clock was set back: nothing tells whether its death was told
        self.registry.remove(event.actor.id, end_inferred=unseen)
        if container is None or not unseen:
            return []
        return [infer_end(container, Snapshot(event.engine, event.host, event.time_ns))]

    def _on_missing(self, id_: str, snapshot: Snapshot) -> list[Event]:
        """It is gone; if it was running it died, and nothing told of that."""
        container = self.registry.get(id_)
        if container is None:
            return []
        if not _is_end_unreported(container):
            self.registry.remove(id_)
            return []
        # Should its events still come, they belong to the life whose end is told here.
        self.registry.put(replace(container, inferred_ns=container.started_ns))
        return [infer_end(container, snapshot)]


def _is_end_unreported(container: Container) -> bool:
    """Whether it is known to run, and its end was not told either."""
    return container.is_running and container.inferred_ns != container.started_ns


def _was_reset(known: Container, inspected: ContainerSnapshot, snapshot: Snapshot) -> bool:
    """Whether it ran, and now looks as if it never had, or as if it had only started since.

    So Podman after a reboot of its host. A container that just starts can look so too.
    """
    started_ns = known.started_ns or 0
    again = inspected.is_running and (inspected.started_ns or 0) > started_ns + CLOCK_TOLERANCE_NS
    forgotten = (inspected.finished_ns or 0) < started_ns - CLOCK_TOLERANCE_NS
    return (
        _is_end_unreported(known)
        and forgotten
        and (again or not inspected.is_running)
        and started_ns < snapshot.taken_ns - START_GRACE_NS
    )


def _is_tracked(event: Event) -> bool:
    return event.type == "container" and event.action in _TRACKED_ACTIONS


def _iterate_deaths(events: Sequence[Event]) -> Iterator[tuple[list[Event], Event, list[Event]]]:
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


def _emit(
    container: Container,
    event: Event,
    inspected: ContainerSnapshot | None,
    blind_window: BlindWindow | None,
) -> list[Event]:
    match event.action:
        case "die" if matches_inferred(container, event):
            return []
        case "die":
            return _with_cause(container, event, inspected, blind_window)
        case "oom" if matches_inferred_oom(container, event):
            return []
        case _:
            return [event]


def _with_cause(
    container: Container,
    event: Event,
    inspected: ContainerSnapshot | None,
    blind_window: BlindWindow | None,
) -> list[Event]:
    """A ``die`` with its cause, and where needed the ``oom`` before it."""
    shown = inspected if inspected is not None and _shows_death(inspected, event) else None
    exit_code = event.exit_code
    if container.exit_code_hidden:
        exit_code = shown.exit_code if shown else None
    oom_seen = shown is not None and shown.oom_killed
    deaf = blind_window is not None and blind_window.may_hide_request(container, event.time_ns)
    why = find_cause(
        container,
        event.time_ns,
        exit_code,
        inspection_shows_oom=oom_seen,
        may_have_missed_request=deaf,
    )
    death = replace(event, exit_code=exit_code, cause=why)
    if oom_seen and container.oom_ns is None:
        return [infer_oom(event), death]
    return [death]


def _shows_death(inspected: ContainerSnapshot, death: Event) -> bool:
    """Whether an inspection shows this death, and not an earlier or a later life."""
    times = (inspected.started_ns or 0, inspected.finished_ns or 0)
    return (
        not inspected.is_running
        and inspected.finished_ns is not None
        and max(times) <= death.time_ns
    )


def _apply_inspection(container: Container, inspected: ContainerSnapshot) -> Container:
    return replace(
        container,
        name=inspected.name or container.name,
        image=inspected.image or container.image,
        labels=limit_labels(inspected.labels),
        exit_code_hidden="exitCode" in inspected.hiding_labels,
        signal_hidden="signal" in inspected.hiding_labels,
        stop_signal=inspected.stop_signal or container.stop_signal,
    )


def _next_start_ns(container: Container, inspected: ContainerSnapshot) -> int:
    """The first start that is known behind the death that is seen."""
    started_ns = max(container.started_ns or 0, inspected.started_ns or 0)
    return started_ns if started_ns > (inspected.finished_ns or 0) else MAX_TIME_NS


def _mark_inferred(container: Container, inspected: ContainerSnapshot) -> Container:
    """With the death that is seen, which was inferred."""
    inferred_ns = inspected.finished_ns or 0
    if not inspected.is_running:
        inferred_ns = max(inferred_ns, inspected.started_ns or 0)
    return replace(
        container,
        inferred_ns=inferred_ns,
        oom_inferred_ns=inspected.finished_ns
        if inspected.oom_killed
        else container.oom_inferred_ns,
    )


def _update_times(
    container: Container, inspected: ContainerSnapshot, snapshot: Snapshot
) -> Container:
    """With the times that are seen, unless events have told of later ones since."""
    known_ns, seen_ns = container.started_ns or 0, inspected.started_ns or 0
    started_ns = max(known_ns, seen_ns) or None
    if inspected.is_running or inspected.finished_ns is None:
        return replace(container, started_ns=started_ns)
    # A short life can seem to end before it starts: Podman's times are coarse, and Docker sends
    # the event of a start when it is over with it.
    same_life = (
        known_ns < max(seen_ns, snapshot.taken_ns - 2 * CLOCK_TOLERANCE_NS) + CLOCK_TOLERANCE_NS
    )
    died_ns = max(
        container.died_ns or 0, inspected.finished_ns, seen_ns, known_ns if same_life else 0
    )
    return replace(container, started_ns=started_ns, died_ns=died_ns)
