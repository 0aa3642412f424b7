"""Docker Engine as the tests run it: the machine's own, or one of another age from a folder."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.sandboxed_engine import SYSTEM_PATH, EngineError, SandboxedEngine


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs that an engine is made of."""

    dockerd: str
    docker: str
    init: str
    busybox: str
    """Statically linked: it becomes the image."""
    path: str
    """The engine's PATH: there it finds containerd, the shim and runc."""


def find_binaries(folder: Path | None = None) -> Binaries:
    """The machine's engine, or the one unpacked in ``folder``, with the rest from the machine.

    Raises EngineError that names what is missing, root's rights among it.
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
    """A Docker Engine of one's own: see `EnclosedEngine`.

    Asked to end, it ends its containers first, unless live-restore.
    """

    def __init__(self, binaries: Binaries, *, options: Sequence[str] = ()) -> None:
        """``options`` are more of dockerd's own, such as ``--live-restore``."""
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
            # By cgroupfs, so that no systemd is needed, and all below one group, to be removed.
            "--exec-opt=native.cgroupdriver=cgroupfs",
            f"--cgroup-parent={self._cgroup}",
            *self._options,
        ]
