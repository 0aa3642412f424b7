"""Tracks the containers of one engine: why each died, and whether its death was reported.

The tracker keeps the state of each container (see `registry`) and updates it with every event and
with every snapshot. It adds the cause to a ``die`` (see `cause`), infers deaths that no event
reported (see `inference`), and suppresses events that report what was already inferred, so that
every death is reported once. It lives as long as the engine's session; its state is committed with
every batch, and the next session continues from there.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

from msgspec.structs import replace

from relay.core.container import Container
from relay.core.event import Cause, Event
from relay.ingest.docker.containers.cause import (
    REMOVAL_ACTIONS,
    apply_event,
    find_cause,
    is_known_health,
    split_requests,
)
from relay.ingest.docker.containers.inference import (
    BlindWindow,
    Snapshot,
    infer_death,
    infer_end,
    infer_oom,
    infer_service_failure,
    infer_start_failure,
    is_unreported,
    matches_inferred,
    matches_inferred_oom,
)
from relay.ingest.docker.containers.inspected_state import (
    apply_inspection,
    mark_inferred,
    next_start_ns,
    update_times,
)
from relay.ingest.docker.containers.questions import NOTHING_MISSING, Findings, assess
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.containers.run_time import RUN_TIME_ATTRIBUTE, find_run_time
from relay.ingest.docker.containers.start_failure import (
    find_start_failure,
    may_fail_to_start,
    note_end,
)
from relay.ingest.docker.cursor import CLOCK_TOLERANCE_NS
from relay.ingest.docker.engine.inspection import ContainerSnapshot

FOLLOWED_ACTIONS = REMOVAL_ACTIONS | {
    *("create", "start", "restart", "kill", "stop", "oom", "die", "rename", "health_status")
}
"""The actions that say something about a container's state."""

_NON_LABEL_ATTRIBUTES = frozenset(
    {"name", "image", "exitCode", "containerExitCode", "signal", "execID", "execDuration"}
)
"""Attributes of an event that are not labels, unless a label has that name."""

START_GRACE_NS = 60_000_000_000
"""A snapshot may not show a start that happened so shortly before it."""


class ContainerTracker:
    """Tracks the containers of one engine by their events and by snapshots of them."""

    def __init__(self, registry: ContainerRegistry, *, podman: bool = False) -> None:
        self.registry = registry
        self.podman = podman
        """Whether the engine is Podman, some of whose events have another meaning."""

    def assess(self, event: Event, later: Callable[[], Sequence[Event]]) -> Findings:
        """Return what is known about a container's event before `on_event` gets it.

        ``later`` returns the container's events that arrived after it.
        """
        id_ = event.actor.id
        known = self.registry.get(id_)
        if event.action == "die":
            if known is None:
                is_reported = self.registry.has_inferred_end(id_)
            else:
                is_reported = known.inferred_ns is not None and matches_inferred(known, event)
            if is_reported:
                return NOTHING_MISSING
        return assess(event, known, later, podman=self.podman)

    def on_event(
        self,
        event: Event,
        inspected: ContainerSnapshot | None = None,
        *,
        blind_window: BlindWindow | None = None,
        later_cause: Cause | None = None,
    ) -> list[Event]:
        """Process one event and return the events to report. Call it once, in stream order.

        A ``die`` gets its cause and its true exit code. ``inspected`` is the container as the
        engine shows it now; ``later_cause`` is the cause that the events after it show;
        ``blind_window`` is the period in which a request may have been missed. An event that
        reports an inferred death is suppressed, and so is a health that is known. If the inspection
        shows an ``oom`` that the engine did not send, it precedes the ``die``. If the ``die`` did
        not come, it is inferred when the container is removed.
        """
        action, id_ = event.action, event.actor.id
        if event.type != "container" or action not in FOLLOWED_ACTIONS:
            return [event]
        if action == "health_status" and not self.podman:
            return [self.mark_interactive(event)]  # Docker sends only changes
        if action in REMOVAL_ACTIONS:
            event = self.mark_interactive(event)
            return [*self._on_removal(event), event]
        if action == "die" and self.registry.has_inferred_end(id_):
            return []
        if not id_:  # the container is unknown
            return self._emit(self._new_container(event), event, None, blind_window)
        container = self._state_with_names(event, inspected)
        is_restart = self.podman and action == "restart" and not container.is_dead
        if later_cause is Cause.REQUESTED or is_restart:
            container = replace(container, requested_ns=event.time_ns)
        elif later_cause is Cause.OOM:
            container = replace(container, oom_ns=event.time_ns)
        if container.interactive:
            event = replace(event, interactive=True)
        emitted = self._emit(container, event, inspected, blind_window)
        container = apply_event(container, event)
        if len(emitted) > 1:
            container = replace(container, oom_inferred_ns=event.time_ns)
        self.registry.put(note_end(container, event, emitted))
        return emitted

    def mark_interactive(self, event: Event) -> Event:
        """Return the event of a container with what is known about its terminal."""
        container = self.registry.get(event.actor.id) if event.type == "container" else None
        if container is None or not container.interactive:
            return event
        return replace(event, interactive=True)

    def on_snapshot(self, snapshot: Snapshot, blind_window: BlindWindow | None) -> list[Event]:
        """Update the state from a snapshot and return what is inferred from it."""
        emitted: list[Event] = []
        for inspected in snapshot.containers:
            if not self.registry.is_destroyed(inspected.id):
                emitted += self._on_container_snapshot(inspected, snapshot, blind_window)
        for id_ in snapshot.missing:
            emitted += self._on_missing(id_, snapshot)
        for failure in snapshot.failing_services:
            if self.registry.get(failure.id) is None:  # else it was reported
                # kept like a container until the engine no longer lists it as failing
                self.registry.put(Container(failure.id, failure.name, start_failed=True))
                emitted.append(infer_service_failure(failure, snapshot))
        return emitted

    def _on_container_snapshot(
        self, inspected: ContainerSnapshot, snapshot: Snapshot, blind_window: BlindWindow | None
    ) -> list[Event]:
        """Update the state of one container and return what is inferred from its inspection."""
        emitted: list[Event] = []
        known = self.registry.get(inspected.id)
        container = apply_inspection(known or Container(inspected.id), inspected)
        if is_unreported(known, inspected, self.registry.reported_until_ns):
            before, container = split_requests(container, next_start_ns(container, inspected))
            emitted = infer_death(before, inspected, snapshot, blind_window)
            container = mark_inferred(container, inspected)
        elif known is not None and _was_reset(known, inspected, snapshot):
            emitted = [infer_end(container, snapshot)]
            container = replace(container, inferred_ns=known.started_ns, died_ns=known.started_ns)
        if emitted:
            container = note_end(container, emitted[-1], emitted)
        container = update_times(container, inspected, snapshot)
        return emitted + self._find_start_failure(container, known, inspected, snapshot)

    def _find_start_failure(
        self,
        container: Container,
        known: Container | None,
        inspected: ContainerSnapshot,
        snapshot: Snapshot,
    ) -> list[Event]:
        """Store the container's state; return the event of a failed start that is not reported yet.

        A failure from before relay first connected to the engine is never reported.
        """
        error = find_start_failure(container, inspected, snapshot.taken_ns)
        was_reported = known is not None and known.start_failed
        self.registry.put(replace(container, start_failed=error is not None))
        is_old = known is None and (inspected.created_ns or 0) <= self.registry.reported_until_ns
        if error is None or was_reported or is_old:
            return []
        return [infer_start_failure(container, inspected, snapshot, error)]

    def has_unreported(self, snapshots: Iterable[ContainerSnapshot]) -> bool:
        """Whether these snapshots show a death that no event has reported yet."""
        return any(
            is_unreported(
                self.registry.get(inspected.id), inspected, self.registry.reported_until_ns
            )
            and not self.registry.is_destroyed(inspected.id)
            for inspected in snapshots
        )

    def needs_inspection(self, id_: str) -> bool:
        """Whether a container that does not run may have died, or may have failed to start."""
        container = self.registry.get(id_)
        return container is None or not container.is_dead or may_fail_to_start(container)

    def find_missing(self, listed: Collection[str]) -> frozenset[str]:
        """Return the ids of the known containers that are not in the engine's list."""
        return frozenset(known.id for known in self.registry.list_all() if known.id not in listed)

    def _state_with_names(self, event: Event, inspected: ContainerSnapshot | None) -> Container:
        """Return the state before the event, with the names that the event gives."""
        container = self.registry.get(event.actor.id) or self._new_container(event)
        if inspected is not None:
            container = apply_inspection(container, inspected)
        name, image = event.actor.name or container.name, event.actor.image or container.image
        if (name, image) == (container.name, container.image):
            return container
        return replace(container, name=name, image=image)

    def _new_container(self, event: Event) -> Container:
        """Return the state of a container whose first event this is.

        ``create`` and ``start`` have only labels beside the name and the image. A label named
        ``exitCode``, ``signal`` or ``execDuration`` therefore shows there; in later events it will
        hide the real value. In Podman's events the real values win.
        """
        attributes = event.actor.attributes
        only_labels = event.action in ("create", "start") and not self.podman
        labels = {k: v for k, v in attributes.items() if k not in _NON_LABEL_ATTRIBUTES}
        return Container(
            id=event.actor.id,
            labels=labels,
            exit_code_hidden=only_labels and "exitCode" in attributes,
            signal_hidden=only_labels and "signal" in attributes,
            run_time_hidden=only_labels and RUN_TIME_ATTRIBUTE in attributes,
        )

    def _emit(
        self,
        container: Container,
        event: Event,
        inspected: ContainerSnapshot | None,
        blind_window: BlindWindow | None,
    ) -> list[Event]:
        """Return what an event reports that is not known yet. ``container`` is the state before."""
        match event.action:
            case "die" if matches_inferred(container, event):
                return []
            case "die":
                ran_ns = find_run_time(container, event, podman=self.podman)
                return _with_cause(container, event, ran_ns, inspected, blind_window)
            case "oom" if matches_inferred_oom(container, event):
                return []
            case "health_status" if is_known_health(container, event):
                return []
            case _:
                return [event]

    def _on_removal(self, event: Event) -> list[Event]:
        """Forget a removed container; return its death if nothing reported it."""
        container = self.registry.get(event.actor.id)
        unreported = container is not None and _is_end_unreported(container)
        if container is not None and (container.started_ns or 0) > event.time_ns:
            unreported = False  # the clock was set back: its death may have been reported
        self.registry.remove(event.actor.id, end_inferred=unreported)
        if container is None or not unreported:
            return []
        return [infer_end(container, Snapshot(event.engine, event.host, event.time_ns))]

    def _on_missing(self, id_: str, snapshot: Snapshot) -> list[Event]:
        """Handle a container that is gone: if it ran, it died, and nothing reported that."""
        container = self.registry.get(id_)
        if container is None:
            return []
        if not _is_end_unreported(container):
            self.registry.remove(id_)
            return []
        # If its events still arrive, they belong to the life whose end is reported here.
        self.registry.put(replace(container, inferred_ns=container.started_ns))
        return [infer_end(container, snapshot)]


def _is_end_unreported(container: Container) -> bool:
    """Whether the container is known to run and its end was not inferred."""
    return container.is_running and container.inferred_ns != container.started_ns


def _was_reset(known: Container, inspected: ContainerSnapshot, snapshot: Snapshot) -> bool:
    """Whether a container that ran now seems never to have run, or to have started only later.

    Podman shows this after a reboot of its host. A container that is just starting can look the
    same.
    """
    started_ns = known.started_ns or 0
    started_again = (
        inspected.is_running and (inspected.started_ns or 0) > started_ns + CLOCK_TOLERANCE_NS
    )
    forgotten = (inspected.finished_ns or 0) < started_ns - CLOCK_TOLERANCE_NS
    return (
        _is_end_unreported(known)
        and forgotten
        and (started_again or not inspected.is_running)
        and started_ns < snapshot.taken_ns - START_GRACE_NS
    )


def _with_cause(
    container: Container,
    event: Event,
    ran_ns: int | None,
    inspected: ContainerSnapshot | None,
    blind_window: BlindWindow | None,
) -> list[Event]:
    """Return a ``die`` with its cause, after the ``oom`` that the engine did not send, if any."""
    shown = inspected if inspected is not None and _shows_death(inspected, event) else None
    exit_code = event.exit_code
    if container.exit_code_hidden:
        exit_code = shown.exit_code if shown else None
    shows_oom = shown is not None and shown.oom_killed
    if shown is not None and shown.proves_stop(container):
        container = replace(container, requested_ns=event.time_ns)
    cause = find_cause(
        container,
        event.time_ns,
        exit_code,
        inspection_shows_oom=shows_oom,
        may_have_missed_request=(
            blind_window is not None
            and blind_window.may_hide_request(container, event.time_ns)
            and (shown is None or shown.stopped_by_user is not False)
        ),
    )
    death = replace(event, exit_code=exit_code, cause=cause, ran_ns=ran_ns)
    if shows_oom and container.oom_ns is None:
        return [infer_oom(event), death]
    return [death]


def _shows_death(inspected: ContainerSnapshot, death: Event) -> bool:
    """Whether an inspection shows this death, and not that of an earlier or a later life."""
    times = (inspected.started_ns or 0, inspected.finished_ns or 0)
    return (
        not inspected.is_running
        and inspected.finished_ns is not None
        and max(times) <= death.time_ns
    )
