"""Podman as the tests run it: its service, which speaks the Docker API, and the docker command."""

import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.engine_api import timestamp
from tests.support.sandboxed_engine import SYSTEM_PATH, EngineError, SandboxedEngine

# conmon leaves its note of a kill for memory in its current folder; Podman before 5.0 looks for it
# in the container's bundle, never finds it, and calls no container OOMKilled
# (https://github.com/containers/podman/issues/13102). This brings the two together, so that the
# state which Podman reports is the one that later ones report by themselves.
_CONMON = """#!/bin/sh
previous=
for argument; do
  test "$previous" != -b || cd "$argument" || exit
  previous=$argument
done
exec {conmon} "$@"
"""

# The service writes no file with its process id; and whatever its folders are, what it knows of
# images' layers it keeps below /var/lib/containers, so it gets one of its own.
_START = """
own=/var/lib/containers
mkdir -p $own && { mountpoint -q $own || mount -t tmpfs tmpfs $own; } &&
echo $$ >"$0" && exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs that the service is made of, and what drives it."""

    podman: str
    conmon: str
    runc: str
    docker: str
    init: str
    busybox: str
    """Statically linked: it becomes the image."""


def find_programs() -> Programs:
    """The machine's Podman; raises EngineError that names what is missing, root among it."""
    needed = ("podman", "conmon", "runc", "docker", "docker-init", "busybox", "nsenter")
    found = {name: shutil.which(name, path=SYSTEM_PATH) or "" for name in needed}
    missing = [name for name in needed if not found[name]]
    if missing:
        packages = "podman docker.io busybox-static"
        raise EngineError(f"Podman needs {', '.join(missing)}: install {packages}")
    if os.geteuid() != 0:
        raise EngineError("an engine needs root")
    return Programs(*(found[name] for name in needed[:-1]))


class PodmanEngine(SandboxedEngine):
    """A Podman of one's own: see `EnclosedEngine`. Its containers live on when the service ends."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        super().__init__(
            docker=programs.docker,
            init=programs.init,
            busybox=programs.busybox,
            path=SYSTEM_PATH,
        )
        self._conmon = self.folder / "conmon"
        self._conmon.write_text(_CONMON.format(conmon=programs.conmon))
        self._conmon.chmod(self._conmon.stat().st_mode | stat.S_IXUSR)

    def events(self, since_ns: int = 0) -> list[dict[str, Any]]:
        """What its history holds from ``since_ns`` to now; not by ``until``, at which it cuts."""
        found: list[dict[str, Any]] = self.get(f"/events?stream=false&since={timestamp(since_ns)}")
        return found

    @property
    def _run_options(self) -> Sequence[str]:
        return (
            f"--cgroup-parent={self._cgroup}",
            # Podman's own defaults are beyond what an unprivileged machine allows; and without a
            # timeout of its own it takes none for containers that the docker command made.
            "--ulimit=nproc=1000:1000",
            "--ulimit=nofile=1024:1024",
            "--stop-timeout=10",
        )

    @property
    def _command(self) -> list[str]:
        folder, programs = self.folder, self._programs
        return [
            *(programs.busybox, "sh", "-c", _START, str(self._pidfile)),
            programs.podman,
            f"--root={folder}/root",
            f"--runroot={folder}/run",
            f"--runtime={programs.runc}",
            f"--conmon={self._conmon}",
            "--cgroup-manager=cgroupfs",
            "--events-backend=file",
            f"--network-config-dir={folder}/networks",
            *("system", "service", "--time=0", self.url),
        ]
