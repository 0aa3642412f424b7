"""The container that relay itself runs in, and the events that its health check makes."""

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
"""Where it mounts them. Elsewhere they are somebody's volume, of whatever container."""

_EXEC_ACTIONS = frozenset(
    {"exec_create", "exec_start", "exec_detach", "exec_die", "exec", "exec_died"}
)
"""What running a command in a container makes; the last two are Podman's."""


@cache
def find_self_container() -> str | None:
    """The id of the container that this process runs in; None outside, or where it is unclear.

    Read once, and logged: what is run in that container will be told to nobody.
    """
    try:
        found = find_container_id(_MOUNTINFO.read_text(errors="replace"))
    except OSError:
        return None
    if found is not None:
        log.info("container.own", id=found, untold="commands that are run in it")
    return found


def find_container_id(mountinfo: str) -> str | None:
    """The id of the container whose mounts these are, as ``/proc/self/mountinfo`` lists them.

    None where no engine's files are mounted, or those of several containers. Podman's
    ``.containerenv`` is never shared, other than the files about a network: where it is, it counts
    alone. Docker has nothing like it: in another container's network (``network_mode:
    container:…``) the files are the other's, and so is the id.
    """
    found: dict[str, set[str]] = {}
    for line in mountinfo.split("\n"):
        fields = line.split(" ")
        if len(fields) < 5:
            continue
        _, _, _, root, place, *_ = fields  # proc(5)
        kept = _DOCKER_FILE.search(root) or _PODMAN_FILE.search(root)
        if kept is not None and place == _MOUNT_POINTS[kept["file"]]:
            found.setdefault(place, set()).add(kept["id"])
    ids = found.get(_MOUNT_POINTS[".containerenv"]) or set().union(*found.values())
    return ids.pop() if len(ids) == 1 else None


def is_self_exec(event: Event, self_container: str | None) -> bool:
    """Whether the event tells of a command that was run in relay's own container.

    Its health check makes three of them a probe, which nobody wants to hear of.
    """
    return (
        self_container is not None
        and event.type == "container"
        and event.action in _EXEC_ACTIONS
        and event.actor.id == self_container
    )
