"""Podman for tests: its service, which serves the Docker API, and the docker command."""

import os
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.engine_api import timestamp
from tests.support.sandboxed_engine import SYSTEM_PATH, EngineError, SandboxedEngine

# conmon writes a file about an OOM kill into its working directory. Podman before 5.0 looks for it
# in the container's bundle and does not find it, so it never sets OOMKilled
# (https://github.com/containers/podman/issues/13102). This wrapper starts conmon in the bundle, so
# that Podman reports the state that later versions report by themselves.
_CONMON = """#!/bin/sh
previous=
for argument; do
  test "$previous" != -b || cd "$argument" || exit
  previous=$argument
done
exec {conmon} "$@"
"""

# The service writes no file with its process id, so the shell does. Whatever folders are given,
# Podman keeps data about image layers below /var/lib/containers, so a tmpfs is mounted there.
_START = """
own=/var/lib/containers
mkdir -p $own && { mountpoint -q $own || mount -t tmpfs tmpfs $own; } &&
echo $$ >"$0" && exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs that the service consists of, and the docker command."""

    podman: str
    conmon: str
    runc: str
    docker: str
    init: str
    busybox: str
    """Statically linked, because the image consists of it alone."""


def find_programs() -> Programs:
    """Find the installed Podman; raises `EngineError` that names what is missing.

    Root privileges are needed too.
    """
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
    """A private Podman; see `SandboxedEngine`. Its containers keep running without the service."""

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
        """Return the history from ``since_ns`` to now.

        Not by ``until``, at which Podman cuts events off.
        """
        found: list[dict[str, Any]] = self.get(f"/events?stream=false&since={timestamp(since_ns)}")
        return found

    @property
    def _run_options(self) -> Sequence[str]:
        return (
            f"--cgroup-parent={self._cgroup}",
            # Podman's default limits exceed what an unprivileged machine allows. It has no default
            # stop timeout for containers that the docker command creates.
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
