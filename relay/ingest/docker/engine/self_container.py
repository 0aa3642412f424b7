"""Finds the container that relay itself runs in, and the events of commands run in it.

The health check of relay's image runs a command at every probe, and the engine sends three events
for each command. They are processed like all others but not routed: nobody wants to be notified of
them.
"""

import re
from functools import cache
from pathlib import Path

import structlog

from relay.core.event import Event

log = structlog.get_logger()

_MOUNTINFO = Path("/proc/self/mountinfo")

_ID = r"(?P<id>[0-9a-f]{64})"
_DOCKER_FILE = re.compile(rf"/containers/{_ID}/(?P<file>hostname|hosts|resolv\.conf)$")
_PODMAN_FILE = re.compile(
    rf"/[a-z0-9]+-containers/{_ID}/userdata/(?P<file>hostname|hosts|resolv\.conf|\.containerenv)$"
)
"""Where an engine keeps the files that it mounts into a container, below its own folder: moby's
``daemon/container_operations_unix.go``, Podman's ``libpod/container_internal_common.go``."""

_MOUNT_POINTS = {
    "hostname": "/etc/hostname",
    "hosts": "/etc/hosts",
    "resolv.conf": "/etc/resolv.conf",
    ".containerenv": "/run/.containerenv",
}
"""Where the engine mounts them. At any other path they are mounted as a volume, and may be another
container's files."""

_EXEC_ACTIONS = frozenset(
    {"exec_create", "exec_start", "exec_detach", "exec_die", "exec", "exec_died"}
)
"""The events of a command that is run in a container; the last two are Podman's."""


@cache
def find_self_container() -> str | None:
    """Return the id of the container that this process runs in.

    None outside a container, or if the id is not certain. It is read once and logged, because
    commands run in that container are not routed.
    """
    try:
        found = find_container_id(_MOUNTINFO.read_text(errors="replace"))
    except OSError:
        return None
    if found is not None:
        log.info("container.own", id=found, untold="commands that are run in it")
    return found


def find_container_id(mountinfo: str) -> str | None:
    """Return the id of the container whose ``/proc/self/mountinfo`` this is.

    None if it contains no files of an engine, or those of several containers. Podman's
    ``.containerenv`` is never shared between containers, unlike the files about a network: if it is
    mounted, only it counts. Docker has no such file: in another container's network
    (``network_mode: container:…``) the files are the other container's, and so is the id.
    """
    found: dict[str, set[str]] = {}
    for line in mountinfo.split("\n"):
        fields = line.split(" ")
        if len(fields) < 5:
            continue
        _, _, _, root, mount_point, *_ = fields  # proc(5)
        file = _DOCKER_FILE.search(root) or _PODMAN_FILE.search(root)
        if file is not None and mount_point == _MOUNT_POINTS[file["file"]]:
            found.setdefault(mount_point, set()).add(file["id"])
    ids = found.get(_MOUNT_POINTS[".containerenv"]) or set().union(*found.values())
    return ids.pop() if len(ids) == 1 else None


def is_self_exec(event: Event, self_container: str | None) -> bool:
    """Whether the event is about a command that was run in relay's own container."""
    return (
        self_container is not None
        and event.type == "container"
        and event.action in _EXEC_ACTIONS
        and event.actor.id == self_container
    )
