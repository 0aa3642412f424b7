"""A machine to be thrown away: it has this one's files, and whatever is written there is lost."""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.sandboxed_engine import SYSTEM_PATH

REPOSITORY = Path(__file__).parents[2]
TIMEOUT_S = 120.0

# In namespaces of their own: what is mounted goes with the shell, and so do all processes.
_ENTER = """
mount -t tmpfs tmpfs "$1" && cd "$1" && mkdir root changes
n=0
for folder in / $2; do
  n=$((n + 1)) && mkdir changes/$n changes/$n.work
  mount -t overlay -o "lowerdir=$folder,upperdir=$1/changes/$n,workdir=$1/changes/$n.work" \\
    overlay "$1/root$folder" || exit 125
done
mount -t proc proc root/proc && mount --rbind /dev root/dev && mount -t tmpfs tmpfs root/run &&
touch root/run/docker.sock && mount --bind "$3" root/run/docker.sock || exit 125
exec chroot root sh -c 'cd "$1" && exec bash -euo pipefail -c "$2"' sh "$4" "$5"
"""


class Machine:
    """This machine as it would be with an engine at the usual place, and nothing of relay's."""

    def __init__(self, engine_socket: Path) -> None:
        self._engine_socket = engine_socket
        self._env = {"PATH": SYSTEM_PATH, "HOME": "/root", "LANG": "C.UTF-8"}

    def run(self, script: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a script for bash in the repository; return its exit code and all that it printed.

        ``env`` is added to PATH, HOME and LANG. It ends with the first command that fails; what
        it started in the background is killed. Exit code 125 is a machine that allows no mounts.
        """
        with tempfile.TemporaryDirectory() as folder:
            others = " ".join(shlex.quote(str(path)) for path in _find_mounted())
            arguments = [folder, others, str(self._engine_socket), str(REPOSITORY), script]
            return subprocess.run(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                    *("sh", "-c", _ENTER, "sh", *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**self._env, **env},
                timeout=TIMEOUT_S,
                check=False,
            )


def _find_mounted() -> list[Path]:
    """Return the folders that are needed and are not on the file system of the root."""
    needed = {REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)}
    root = Path("/").stat().st_dev
    return sorted(path for path in needed if path.stat().st_dev != root)
