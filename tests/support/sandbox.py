"""A place to run an engine in, of which nothing is left when the tests end, however they end."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO

# The outer shell waits in the machine's own namespaces and cleans up. The inner one is the first
# process of a PID namespace with mounts of its own: when it ends the kernel kills everything in
# it, and its mounts go with it. It ends with `cat`, and `cat` ends when the tests close the pipe
# or die, by whatever signal. Its own pid is read before /proc is replaced: that is the one by
# which the machine knows it. A /run, an /opt and a /dev/shm of its own keep inside what engines put
# there, wherever their own folders are: the shims' sockets, folders for plugins, Podman's locks.
_GUARD = """
unshare --mount --pid --fork --kill-child=KILL sh -c '
  read -r pid rest </proc/self/stat &&
  mount -t proc proc /proc &&
  mount -t tmpfs -o mode=755 tmpfs /run &&
  mount -t tmpfs -o mode=755 tmpfs /opt &&
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm &&
  echo "$pid" &&
  exec "$0" -- cat >/dev/null
' "$1"
rm -rf "$2"
for group in /sys/fs/cgroup"$3" /sys/fs/cgroup/*"$3"; do
  test ! -d "$group" || find "$group" -depth -type d -exec rmdir {} +
done
"""

CLOSE_TIMEOUT_S = 60.0


class Enclosure:
    """Namespaces for one engine, and the folder and control group that go when they go."""

    def __init__(self, folder: Path, *, cgroup: str, init: str, env: Mapping[str, str]) -> None:
        """Open it; ``cgroup`` is a path from the root of the hierarchies, ``init`` a small init.

        Raises OSError where the machine does not allow it.
        """
        # A session of its own: Ctrl-C goes to the tests, which close this when they are done.
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "guard", init, str(folder), cgroup],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            start_new_session=True,
        )
        first_line = _pipe(self._guard.stdout).readline()
        if not first_line:
            reason = _pipe(self._guard.stderr).read().decode().strip()
            self.close()
            raise OSError(f"no namespaces for an engine here: {reason}")
        self._pid = int(first_line)

    def enter(self, *command: str) -> list[str]:
        """The command line that runs ``command`` inside."""
        # By --root, tests in a chroot find their own files there, and not those of the machine.
        spaces = ["--mount", "--pid", "--root"]
        return ["nsenter", "--target", str(self._pid), *spaces, "--", *command]

    def close(self) -> None:
        """Kill all that runs inside and remove what it left; returns when that is done."""
        _pipe(self._guard.stdin).close()
        self._guard.wait(CLOSE_TIMEOUT_S)
        _pipe(self._guard.stdout).close()
        _pipe(self._guard.stderr).close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
