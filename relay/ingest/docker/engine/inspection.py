"""A container as the engine's ``inspect`` shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from relay.config import patterns

_HIDEABLE_ATTRIBUTES = frozenset({"exitCode", "signal"})


@dataclass(frozen=True, slots=True)
class ContainerSnapshot:
    """One container at one moment. All times are the engine's, in nanoseconds since 1970."""

    id: str
    name: str | None
    image: str | None
    labels: Mapping[str, str]
    is_running: bool
    """Whether its process runs. One that waits for its next restart is not alive."""
    started_ns: int | None
    """Its last start; None if it never was."""
    finished_ns: int | None
    """Its last death, whether or not it was started again since; None if it never died."""
    exit_code: int | None
    """Of its last death; None once it was started again: engines forget it then."""
    oom_killed: bool
    """Whether its last death was by the kernel, for memory."""
    stop_signal: int | None
    """Its own; None for the usual one."""
    hiding_labels: frozenset[str] = frozenset()
    """The labels that stand in its events in the place of real values."""


class _State(msgspec.Struct, rename="pascal"):
    running: bool = False
    restarting: bool = False
    oom_killed: bool = msgspec.field(default=False, name="OOMKilled")
    exit_code: int | None = None
    started_at: str = ""
    finished_at: str = ""


class _Config(msgspec.Struct, rename="pascal"):
    image: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | int | None = None


class _Inspection(msgspec.Struct, rename="pascal"):
    """What is read of ``GET /containers/{id}/json`` (Docker Engine API)."""

    id: str
    name: str | None = None
    state: _State = msgspec.field(default_factory=_State)
    config: _Config = msgspec.field(default_factory=_Config)


_decode = msgspec.json.Decoder(_Inspection).decode


def parse_inspection(body: bytes, *, podman: bool = False) -> ContainerSnapshot | None:
    """What an answer shows; None if it is not an inspection.

    A label hides a real value of the same name in Docker's events; in Podman's it does not.
    """
    try:
        seen = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    state = seen.state
    alive = state.running and not state.restarting
    finished_ns = _parse_time_ns(state.finished_at)
    labels = seen.config.labels or {}
    return ContainerSnapshot(
        id=seen.id,
        name=(seen.name or "").removeprefix("/") or None,
        image=seen.config.image,
        labels=labels,
        is_running=alive,
        started_ns=_parse_time_ns(state.started_at),
        finished_ns=finished_ns,
        exit_code=None if alive or finished_ns is None else state.exit_code,
        oom_killed=state.oom_killed and not alive,
        stop_signal=_parse_signal(seen.config.stop_signal),
        hiding_labels=frozenset() if podman else _HIDEABLE_ATTRIBUTES.intersection(labels),
    )


def _parse_time_ns(text: str) -> int | None:
    """RFC 3339 with up to nine digits; None for the year 1, by which engines say never."""
    whole, point, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        moment = datetime.fromisoformat(whole + rest[len(digits) :] if point else text)
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        return None
    if seconds <= 0:
        return None
    return seconds * 1_000_000_000 + int(digits[:9].ljust(9, "0"))


def _parse_signal(value: str | int | None) -> int | None:
    """Docker writes a name or a number as a text, Podman a number; 0 and nothing are the usual."""
    try:
        return patterns.parse_signal(str(value)).low if value else None
    except ValueError:
        return None
