"""The containers of a scripted engine, as its API shows them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.core.event import format_rfc3339

NEVER = "0001-01-01T00:00:00Z"
"""The time by which engines say that something never happened."""


@dataclass(slots=True)
class ScriptedContainer:
    """The state of one container. All times are the engine's."""

    name: str
    started_ns: int
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str | None = None
    finished_ns: int | None = None
    running: bool = True
    exit_code: int = 0
    oom_killed: bool = False
    stopped_by_user: bool = False
    """Whether somebody stopped it; only Podman's own API shows that."""

    @property
    def id(self) -> str:
        """The container's id."""
        return container_id(self.name)

    def start(self, now_ns: int) -> None:
        """Start again. The time of the last death is kept, its exit code is not."""
        self.started_ns, self.running, self.exit_code, self.oom_killed = now_ns, True, 0, False

    def die(self, now_ns: int, exit_code: int, *, oom: bool) -> None:
        """Die at this time."""
        self.finished_ns, self.running = now_ns, False
        self.exit_code, self.oom_killed = exit_code, oom

    def list_entry(self) -> dict[str, str]:
        """The container's entry in ``GET /containers/json``."""
        return {"Id": self.id, "State": "running" if self.running else "exited"}

    def inspect_body(self, *, libpod: bool = False) -> bytes:
        """The answer to ``GET /containers/ID/json``, or to the same of Podman's own API."""
        state: dict[str, Any] = {
            "Running": self.running,
            "OOMKilled": self.oom_killed,
            "ExitCode": self.exit_code,
            "StartedAt": format_rfc3339(self.started_ns),
            "FinishedAt": format_rfc3339(self.finished_ns) if self.finished_ns else NEVER,
        }
        if libpod and self.stopped_by_user:  # Podman leaves it out if it is false
            state["StoppedByUser"] = True
        config: dict[str, Any] = {"Image": "bb:1", "Labels": self.labels}
        if self.stop_signal is not None:
            config["StopSignal"] = self.stop_signal
        shown = {"Id": self.id, "Name": f"/{self.name}", "State": state, "Config": config}
        return json.dumps(shown).encode()


def container_id(name: str) -> str:
    """The id of the container with this name."""
    return f"id-of-{name}"
