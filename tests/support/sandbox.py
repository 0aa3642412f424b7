"""A sandbox for an engine. Nothing of it is left when the tests end, however they end."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO

# The outer shell waits in the namespaces of the host and cleans up. The inner one is the first
# process of a PID namespace with its own mounts: when it ends, the kernel kills all processes in
# the namespace and removes its mounts. It ends when `cat` ends, and `cat` ends when the tests close
# the pipe or die of any signal. The inner shell reads its pid before /proc is replaced, because
# that is its pid on the host. Engines write to /run, /opt and /dev/shm wherever their own folders
# are (the shims' sockets, folders for plugins, Podman's locks), so these are mounted inside the
# namespace.
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


class Sandbox:
    """Namespaces for one engine; its folder and its control group are removed with them."""

    def __init__(self, folder: Path, *, cgroup: str, init: str, env: Mapping[str, str]) -> None:
        """Create the namespaces.

        ``cgroup`` is a path from the root of the hierarchies; ``init`` is the path of a small init
        program. Raises OSError if the machine does not allow namespaces.
        """
        # In a new session, so that Ctrl-C reaches only the tests, which close the sandbox.
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
            raise OSError(f"cannot create namespaces for an engine: {reason}")
        self._pid = int(first_line)

    def enter(self, *command: str) -> list[str]:
        """Return the command line that runs ``command`` inside."""
        # --root, so that tests in a chroot find their own files and not those of the host.
        spaces = ["--mount", "--pid", "--root"]
        return ["nsenter", "--target", str(self._pid), *spaces, "--", *command]

    def close(self) -> None:
        """Kill everything inside; return when the folder and control group are removed."""
        _pipe(self._guard.stdin).close()
        self._guard.wait(CLOSE_TIMEOUT_S)
        _pipe(self._guard.stdout).close()
        _pipe(self._guard.stderr).close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream
