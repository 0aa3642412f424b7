"""Docker engines for tests: the installed version, or another one from a folder."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.sandboxed_engine import SYSTEM_PATH, EngineError, SandboxedEngine


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs that an engine consists of."""

    dockerd: str
    docker: str
    init: str
    busybox: str
    """Statically linked, because the image consists of it alone."""
    path: str
    """The engine's PATH, with containerd, the shim and runc."""


def find_binaries(folder: Path | None = None) -> Binaries:
    """Find the installed engine, or the one unpacked in ``folder``.

    What the folder lacks is taken from the system. Raises `EngineError` that names what is missing;
    root privileges are needed too.
    """
    path = f"{folder}:{SYSTEM_PATH}" if folder else SYSTEM_PATH
    needed = ("dockerd", "docker", "docker-init", "busybox", "containerd", "runc", "nsenter")
    found = {name: shutil.which(name, path=path) or "" for name in needed}
    missing = [name for name in needed if not found[name]]
    if missing:
        raise EngineError(f"an engine needs {', '.join(missing)}: install docker.io busybox-static")
    if os.geteuid() != 0:
        raise EngineError("an engine needs root")
    return Binaries(found["dockerd"], found["docker"], found["docker-init"], found["busybox"], path)


class PrivateEngine(SandboxedEngine):
    """A private Docker engine; see `SandboxedEngine`.

    `stop` ends its containers first, unless ``--live-restore`` is set.
    """

    def __init__(self, binaries: Binaries, *, options: Sequence[str] = ()) -> None:
        """``options`` are further options for dockerd, such as ``--live-restore``."""
        self._binaries = binaries
        self._options = tuple(options)
        super().__init__(
            docker=binaries.docker,
            init=binaries.init,
            busybox=binaries.busybox,
            path=binaries.path,
        )

    @property
    def _command(self) -> list[str]:
        folder = self.folder
        return [
            self._binaries.dockerd,
            f"--data-root={folder}/root",
            f"--exec-root={folder}/exec",
            f"--pidfile={self._pidfile}",
            f"--host={self.url}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            # cgroupfs needs no systemd. One parent group, so that all groups can be removed.
            "--exec-opt=native.cgroupdriver=cgroupfs",
            f"--cgroup-parent={self._cgroup}",
            *self._options,
        ]
