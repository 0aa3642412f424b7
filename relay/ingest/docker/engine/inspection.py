"""Parses the engine's ``inspect`` of a container into a snapshot of its state.

An inspection shows what events do not: a hidden exit code, the stop signal, a death that no event
reported. It shows only the last death, and after a restart no longer its exit code.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from relay.config.match_parser import parse_signal
from relay.core.container import Container
from relay.core.container_facts import ContainerFacts
from relay.ingest.docker.engine.parser import MAX_TIME_NS

RESTART_POLICIES = frozenset({"always", "unless-stopped", "on-failure"})
"""The policies by which an engine starts a container again (Docker Engine API, ``HostConfig``)."""

HEALTH_STATES = frozenset({"starting", "healthy", "unhealthy"})
"""The states of a container with a health check (Docker Engine API, ``Health``)."""

ERROR_MAX_CHARS = 1_000
"""How much is kept of the error of a failed start."""

_HIDEABLE_ATTRIBUTES = frozenset({"exitCode", "signal", "execDuration"})


class ContainerSnapshot(msgspec.Struct, frozen=True):
    """One container at one moment. All times are the engine's, in nanoseconds since 1970."""

    id: str
    name: str | None
    image: str | None
    labels: Mapping[str, str]
    is_running: bool
    """Whether its process runs. A container that waits for its next restart does not run."""
    started_ns: int | None
    """Its last start; None if it was never started."""
    finished_ns: int | None
    """Its last death, whether or not it was started again since then; None if it never died."""
    exit_code: int | None
    """The exit code of its last death; None after it was started again: engines forget it then."""
    oom_killed: bool
    """Whether the kernel killed it for memory at its last death."""
    stop_signal: int | None
    """The stop signal that it is configured with; None for the usual one."""
    hiding_labels: frozenset[str] = frozenset()
    """The labels that replace real values in its events."""
    interactive: bool = False
    """See `relay.core.event.Event.interactive`. Podman does not show it."""
    auto_remove: bool = False
    """Whether the engine removes it when it ends."""
    is_restarting: bool = False
    """Whether it waits for its next restart."""
    restart_policy: str = "no"
    max_retries: int = 0
    """See `ContainerFacts.max_retries`."""
    restart_count: int = 0
    """How often its policy has restarted it. If it waits for its next restart, Docker counts that
    one, too (moby, ``daemon/monitor.go``)."""
    memory_limit: int | None = None
    """In bytes; None if it has none."""
    start_error: str = ""
    """Why its last start failed; Podman 4.3 does not show it."""
    created_ns: int | None = None
    health: str | None = None
    """``starting``, ``healthy`` or ``unhealthy``; None if it has no health check."""
    stopped_by_user: bool | None = None
    """Whether somebody stopped it, or sent it any signal at all, before its last death; None if the
    engine does not say, or if it runs again."""

    @property
    def facts(self) -> ContainerFacts:
        """What people ask of it."""
        return ContainerFacts(
            self.restart_policy, self.max_retries, self.restart_count, self.memory_limit
        )

    @property
    def shows_cause(self) -> bool:
        """Whether it says by itself why the container died last."""
        return self.oom_killed or self.stopped_by_user is not None

    def proves_stop(self, known: Container) -> bool:
        """Whether somebody stopped the container, given its state before its last death.

        Podman notes a signal of any kind like a stop: if one was sent, it proves nothing.
        """
        return self.stopped_by_user is True and known.signal_ns is None


class Inspection(msgspec.Struct, frozen=True):
    """The engine's answer about a container."""

    snapshot: ContainerSnapshot | None
    """None if the engine does not show it."""
    is_removed: bool = False
    """Whether the engine says that there is no such container."""


class _Health(msgspec.Struct, rename="pascal"):
    status: str = ""


class _State(msgspec.Struct, rename="pascal"):
    running: bool = False
    restarting: bool = False
    oom_killed: bool = msgspec.field(default=False, name="OOMKilled")
    exit_code: int | None = None
    error: str | None = None
    started_at: str = ""
    finished_at: str = ""
    health: _Health | None = None
    stopped_by_user: bool = False  # Podman's, which leaves it out if it is false


class _Config(msgspec.Struct, rename="pascal"):
    image: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | int | None = None
    tty: bool = False
    attach_stdin: bool = False


class _LogConfig(msgspec.Struct, rename="pascal"):
    type: str = ""


class _RestartPolicy(msgspec.Struct, rename="pascal"):
    name: str = ""
    maximum_retry_count: int = 0


class _HostConfig(msgspec.Struct, rename="pascal"):
    log_config: _LogConfig | None = None
    auto_remove: bool = False
    restart_policy: _RestartPolicy | None = None
    memory: int = 0  # 0 for no limit


class _Inspection(msgspec.Struct, rename="pascal"):
    """The needed fields of ``GET /containers/{id}/json`` (Docker Engine API)."""

    id: str
    name: str | None = None
    created: str = ""
    restart_count: int = 0
    image: str | None = None
    """The id of its image; `_Config` has the name by which it was chosen."""
    state: _State = msgspec.field(default_factory=_State)
    config: _Config = msgspec.field(default_factory=_Config)
    host_config: _HostConfig | None = None


_decode = msgspec.json.Decoder(_Inspection).decode


def parse_inspection(
    body: bytes, *, podman: bool = False, says_stopped: bool = False
) -> ContainerSnapshot | None:
    """Return the snapshot that an engine's answer contains; None if it is not an inspection.

    In Docker's events a label hides a real value of the same name; in Podman's it does not.
    ``says_stopped`` is whether it would say that somebody stopped the container.
    """
    try:
        inspected = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    state, host = inspected.state, inspected.host_config
    is_running = state.running and not state.restarting
    finished_ns = parse_time_ns(state.finished_at)
    labels = inspected.config.labels or {}
    has_ended = not is_running and finished_ns is not None
    return ContainerSnapshot(
        id=inspected.id,
        name=(inspected.name or "").removeprefix("/") or None,
        image=inspected.config.image,
        labels=labels,
        is_running=is_running,
        started_ns=parse_time_ns(state.started_at),
        finished_ns=finished_ns,
        exit_code=_parse_exit_code(state.exit_code) if has_ended else None,
        oom_killed=state.oom_killed and not is_running,
        stop_signal=_parse_signal(inspected.config.stop_signal),
        hiding_labels=frozenset() if podman else _HIDEABLE_ATTRIBUTES.intersection(labels),
        interactive=_is_interactive(inspected),
        auto_remove=host is not None and host.auto_remove,
        stopped_by_user=state.stopped_by_user if has_ended and says_stopped else None,
        is_restarting=state.restarting,
        restart_policy=_parse_restart_policy(host),
        max_retries=_parse_max_retries(host),
        restart_count=max(0, inspected.restart_count),
        memory_limit=host.memory if host is not None and host.memory > 0 else None,
        health=_parse_health(state.health),
        start_error=(state.error or "")[:ERROR_MAX_CHARS],
        created_ns=parse_time_ns(inspected.created),
    )


def _parse_health(health: _Health | None) -> str | None:
    """Return the health; None without a health check: then Docker has nothing or ``none``, and
    Podman an empty status."""
    return health.status if health is not None and health.status in HEALTH_STATES else None


def _parse_restart_policy(host: _HostConfig | None) -> str:
    """Return one of `RESTART_POLICIES`, else ``no``."""
    policy = None if host is None else host.restart_policy
    return policy.name if policy is not None and policy.name in RESTART_POLICIES else "no"


def _parse_max_retries(host: _HostConfig | None) -> int:
    """Return how often ``on-failure`` restarts it at most; 0 for any other policy."""
    if host is None or _parse_restart_policy(host) != "on-failure":
        return 0
    return max(0, host.restart_policy.maximum_retry_count) if host.restart_policy else 0


def _is_interactive(inspected: _Inspection) -> bool:
    """Whether it runs in somebody's terminal, or is an intermediate container of a build.

    ``docker run -it`` attaches the terminal; a service with a terminal (``-dit``, ``tty: true`` of
    compose) has none attached. The classic builder chooses the image by its id and keeps no log
    (moby, ``builder/dockerfile/internals.go``); BuildKit's containers are not the engine's.
    """
    config, host = inspected.config, inspected.host_config
    if config.tty and config.attach_stdin:
        # ``docker create -it`` looks the same; with a restart policy it is a service for certain
        return _parse_restart_policy(host) == "no"
    is_chosen_by_id = config.image is not None and config.image == inspected.image
    log = None if host is None else host.log_config
    return is_chosen_by_id and log is not None and log.type == "none"


def parse_time_ns(text: str) -> int | None:
    """Parse RFC 3339 with up to nine digits; None for the year 1, which means never.

    None also for times at which no event is accepted.
    """
    whole, point, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        moment = datetime.fromisoformat(whole + rest[len(digits) :] if point else text)
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        return None
    time_ns = seconds * 1_000_000_000 + int(digits[:9].ljust(9, "0"))
    return time_ns if seconds > 0 and time_ns < MAX_TIME_NS else None


def _parse_exit_code(code: int | None) -> int | None:
    """Return an exit code; None for a number that no process ends with (Windows has 32 bits)."""
    return code if code is not None and -(2**31) <= code < 2**32 else None


def _parse_signal(value: str | int | None) -> int | None:
    """Parse a stop signal; None for the usual one, which is 0 or empty.

    Docker writes a name or a number as text, Podman a number.
    """
    try:
        return parse_signal(str(value)).low if value else None
    except ValueError:
        return None
