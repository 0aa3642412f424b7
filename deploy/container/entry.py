#!/opt/relay/bin/python3 -IS
"""The image's command ``relay``: gives up root, and runs relay as user 65532.

The engine's socket belongs to a group whose number differs from host to host, and an image cannot
know it. So the container starts as root; this program joins the groups of the sockets that it
finds, becomes the image's user, which takes away every capability, and runs relay in its place.
``docker exec … relay …`` does the same. A container that was given a user keeps it.
"""

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping

PROGRAM = "/opt/relay/bin/relay"
STANDARD_SOCKET = "/var/run/docker.sock"
USER = 65532
"""The user and the group that relay runs as."""


def main() -> None:
    """Become relay."""
    if os.geteuid() == 0:
        groups = find_socket_groups(os.environ, read_mount_points())
        added = set(os.getgroups()) - {0}  # by --group-add
        adopt_state(os.environ.get("STATE_DIRECTORY", ""))
        try:
            os.setgroups(sorted({USER, *added, *groups}))
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
        except OSError:
            print(explain(groups), file=sys.stderr)
            sys.exit(2)
    os.execv(PROGRAM, [PROGRAM, *sys.argv[1:]])


def find_socket_groups(environ: Mapping[str, str], mount_points: Iterable[str]) -> list[int]:
    """Return the groups of the sockets that the container was given, in order."""
    named = environ.get("DOCKER_HOST", "").removeprefix("unix://")
    groups = set()
    for path in (named, STANDARD_SOCKET, *mount_points):
        try:
            found = os.stat(path)
        except OSError:
            continue
        if stat.S_ISSOCK(found.st_mode):
            groups.add(found.st_gid)
    return sorted(groups)


def read_mount_points(path: str = "/proc/self/mountinfo") -> Iterator[str]:
    """Yield where something is mounted; proc_pid_mountinfo(5) describes the file."""
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            yield unescape(line.split(" ")[4])


def unescape(field: str) -> str:
    r"""Return the path that a field of mountinfo stands for: a space is written as ``\040``."""
    first, *rest = field.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def adopt_state(folder: str) -> None:
    """Give relay the folder of its store if the engine has just made it: root's, and empty."""
    try:
        if os.stat(folder).st_uid == 0 and not os.listdir(folder):
            os.chown(folder, USER, USER)
    except OSError:
        pass  # relay says what it cannot write


def explain(groups: Iterable[int]) -> str:
    """Return why relay does not run, and what to do."""
    added = "".join(f" --group-add {group}" for group in groups)
    return (
        "relay: the container runs as root, but without the capabilities SETUID and SETGID, which "
        f"it needs to become user {USER}. Start it as that user (--user {USER}:{USER}{added}), or "
        "add both capabilities (--cap-add SETUID --cap-add SETGID)."
    )


if __name__ == "__main__":
    main()
