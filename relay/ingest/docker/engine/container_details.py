"""Parses a container's logs, health check output and inspect fields, and bounds their size.

Whoever runs the container controls all of this content. Nothing here raises, even if it is
malformed.
"""

import re
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import accumulate, takewhile
from pathlib import Path

import msgspec
import structlog

from relay.core.event import Event
from relay.core.text import ELLIPSIS

TEXT_MAX_BYTES = 4096
"""How much is kept of a log, and of the output of a health check, in bytes of UTF-8."""

LINE_MAX_BYTES = 16 * TEXT_MAX_BYTES
"""How much of the end of a line is looked at, as not all of it may be shown by a terminal."""

VALUE_MAX_BYTES = 1024
"""How much is kept of an inspect field, in bytes of JSON."""

_FRAME_HEADER = struct.Struct(">BxxxI")
"""The header of a log frame: its stream and its size. See "Stream format" under "Attach to a
container" in the Docker Engine API."""

_TAB_WIDTH = 4

# ECMA-48, sections 5.3 to 5.6: control sequences, control strings, other escape sequences. The
# quantifiers are possessive and no string contains what may begin one: each byte is read once.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*+(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*+[0-~]"
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def parse_object(body: bytes) -> dict[str, object] | None:
    """Return the JSON object in an engine's answer; None if it is not one."""
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def parse_log(body: bytes, *, framed: bool, max_lines: int) -> tuple[str, ...]:
    """Return the last lines of a log as a terminal would show them.

    At most ``max_lines`` lines and `TEXT_MAX_BYTES`. The log of a container without a terminal is
    ``framed``: its standard output and error come in frames, which cut lines and characters in two,
    and the frames of the two streams alternate. If text is cut, the first line starts with
    `ELLIPSIS`.
    """
    frames = _split_frames(body) if framed else iter([(1, body)])
    return _keep_end(_join_lines(frames, max_lines))


def last_health_output(inspected: Mapping[str, object]) -> str | None:
    """Return the output of the last health check, cleaned as `parse_log` does; None without one."""
    checks = get_path(inspected, "State.Health.Log")
    last = checks[-1] if isinstance(checks, list) and checks else None
    output = get_path(last, "Output")
    if not isinstance(output, str):
        return None
    return "\n".join(_keep_end(output.encode(errors="replace").strip(b"\r\n").split(b"\n")))


def inspect_field(inspected: Mapping[str, object], path: str) -> object:
    """Return the JSON value at a path; None if there is none.

    A value of more than `VALUE_MAX_BYTES` becomes a text: the start of the text, or of the value's
    JSON, with `ELLIPSIS`.
    """
    value = get_path(inspected, path)
    encoded = msgspec.json.encode(value)
    if len(encoded) <= VALUE_MAX_BYTES:
        return value
    return _truncate_json(value if isinstance(value, str) else encoded.decode())


def get_path(value: object, path: str) -> object:
    """Return the value at a dotted path in a JSON value; None if there is none.

    Keys may contain dots themselves: ``Config.Labels.com.docker.compose.service``.
    """
    if not isinstance(value, Mapping):
        return None
    if path in value:
        return value[path]
    first, _, rest = path.partition(".")
    return get_path(value.get(first), rest) if rest else None


def _split_frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the stream and the content of each frame; the last one may be incomplete."""
    at = 0
    while len(body) - at > _FRAME_HEADER.size:
        stream, size = _FRAME_HEADER.unpack_from(body, at)
        at += _FRAME_HEADER.size
        yield stream, body[at : at + size]
        at += size


def _join_lines(frames: Iterable[tuple[int, bytes]], max_lines: int) -> list[bytes]:
    """Return the last lines in the order in which they ended, then those that have not ended."""
    ended: deque[bytes] = deque(maxlen=max_lines)
    incomplete: dict[int, bytearray] = {}
    for stream, content in frames:
        line = incomplete.setdefault(stream, bytearray())
        *ends, rest = content.rsplit(b"\n", max_lines + 1)
        if len(ends) > max_lines:  # the first of them holds all the lines before
            line.clear()
            del ends[0]
        for end in ends:
            line += end
            ended.append(bytes(line))
            line.clear()
        line += rest
    ended.extend(bytes(line) for line in incomplete.values() if line)
    return list(ended)


def _keep_end(lines: list[bytes]) -> tuple[str, ...]:
    """Return as many of the last lines as fit into `TEXT_MAX_BYTES`, line ends included."""
    kept: deque[str] = deque()
    free_bytes = TEXT_MAX_BYTES - len(f"{ELLIPSIS}\n".encode())
    for line in reversed(lines):
        text = _clean_line(line)
        encoded = text.encode()
        if len(encoded) + 1 > free_bytes:
            end = encoded[max(0, len(encoded) - free_bytes) :]
            kept.appendleft(ELLIPSIS + end.decode(errors="ignore"))
            break
        free_bytes -= len(encoded) + 1
        kept.appendleft(text)
    return tuple(kept)


def _clean_line(line: bytes) -> str:
    """Return a line as a terminal shows it, without overwritten text, colours and controls."""
    shown = line.rstrip(b"\r").rpartition(b"\r")[2][-LINE_MAX_BYTES:]
    text = _ESCAPES.sub("", shown.decode(errors="replace"))
    return _CONTROLS.sub("", text.expandtabs(_TAB_WIDTH))


def _truncate_json(text: str) -> str:
    """Cut a text so that, with `ELLIPSIS`, its JSON has at most `VALUE_MAX_BYTES`."""
    free_bytes = VALUE_MAX_BYTES - len(msgspec.json.encode(ELLIPSIS))
    sizes = accumulate(len(msgspec.json.encode(character)) - 2 for character in text)  # unquoted
    fitting = takewhile(lambda pair: pair[1] <= free_bytes, zip(text, sizes, strict=True))
    return "".join(character for character, _ in fitting) + ELLIPSIS


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
