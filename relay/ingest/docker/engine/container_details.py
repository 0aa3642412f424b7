"""What a container last printed, and what else an engine tells of it, made fit to be kept.

All of it was written by whoever runs the container: nothing here raises, whatever it is.
"""

import re
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, takewhile

import msgspec

TEXT_MAX_BYTES = 4096
"""How much text is kept of a log, and of what a health check printed, in bytes of UTF-8."""

VALUE_MAX_BYTES = 1024
"""How much is kept of a field, in bytes of JSON."""

ELLIPSIS = "…"
"""Stands where text was cut."""

_FRAME_HEADER = struct.Struct(">BxxxI")
"""Of a frame: its stream and its size. See "Stream format" under "Attach to a container" in the
Docker Engine API."""

_TAB_WIDTH = 4

# ECMA-48, sections 5.3 to 5.6: control sequences, control strings, other escape sequences. No
# quantifier gives anything back and no string holds what may begin one: each byte is read once.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*+(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*+[0-~]"
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def parse_object(body: bytes) -> Mapping[str, object] | None:
    """The JSON object in an engine's answer; None where there is none."""
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def parse_log(body: bytes, *, framed: bool, max_lines: int) -> tuple[str, ...]:
    """The last lines of a log, at most ``most`` and `TEXT_MAX_BYTES`, as a terminal would show them.

    ``framed`` is the body of a container without a terminal: its standard output and error come in
    frames, which cut lines and characters in two, and overtake each other between. Where text is
    cut, the first line begins with `MARK`.
    """
    frames = _split_frames(body) if framed else iter([(1, body)])
    return _keep_end(_join_lines(frames, max_lines))


def last_health_output(inspected: Mapping[str, object]) -> str | None:
    """What the last health check printed, as `parse_log` are; None if there was none."""
    checks = get_path(inspected, "State.Health.Log")
    last = checks[-1] if isinstance(checks, list) and checks else None
    output = get_path(last, "Output")
    if not isinstance(output, str):
        return None
    return "\n".join(_keep_end(output.encode(errors="replace").strip(b"\r\n").split(b"\n")))


def inspect_field(inspected: Mapping[str, object], path: str) -> object:
    """The JSON value at a path, None if there is none.

    One of more than `VALUE_MAX` becomes a text, of its JSON unless it is one already: the beginning
    of it and `MARK`.
    """
    value = get_path(inspected, path)
    written = msgspec.json.encode(value)
    if len(written) <= VALUE_MAX_BYTES:
        return value
    return _truncate_json(value if isinstance(value, str) else written.decode())


def get_path(value: object, path: str) -> object:
    """What stands at a dotted path in a JSON value, None if nothing does.

    A key may have dots itself: ``Config.Labels.com.docker.compose.service``.
    """
    if not isinstance(value, Mapping):
        return None
    if path in value:
        return value[path]
    first, _, rest = path.partition(".")
    return get_path(value.get(first), rest) if rest else None


def _split_frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Each frame's stream and content; the last may be cut short."""
    at = 0
    while len(body) - at > _FRAME_HEADER.size:
        stream, size = _FRAME_HEADER.unpack_from(body, at)
        at += _FRAME_HEADER.size
        yield stream, body[at : at + size]
        at += size


def _join_lines(frames: Iterable[tuple[int, bytes]], max_lines: int) -> list[bytes]:
    """The last lines, in the order in which they ended; those that did not end come last."""
    ended: deque[bytes] = deque(maxlen=max_lines)
    open_: dict[int, bytearray] = {}
    for stream, content in frames:
        line = open_.setdefault(stream, bytearray())
        *ends, rest = content.split(b"\n")
        for end in ends:
            line += end
            ended.append(bytes(line))
            line.clear()
        line += rest
    ended.extend(bytes(line) for line in open_.values() if line)
    return list(ended)


def _keep_end(lines: list[bytes]) -> tuple[str, ...]:
    """As many of the last lines as `TEXT_MAX_BYTES` holds, line ends counted."""
    kept: deque[str] = deque()
    room = TEXT_MAX_BYTES - len(f"{ELLIPSIS}\n".encode())
    for line in reversed(lines):
        text = _clean_line(line)
        written = text.encode()
        if len(written) + 1 > room:
            kept.appendleft(
                ELLIPSIS + written[max(0, len(written) - room) :].decode(errors="ignore")
            )
            break
        room -= len(written) + 1
        kept.appendleft(text)
    return tuple(kept)


def _clean_line(line: bytes) -> str:
    """A line as a terminal leaves it: what was overwritten, colours and controls are not there."""
    shown = line.rstrip(b"\r").rpartition(b"\r")[2]
    text = _ESCAPES.sub("", shown.decode(errors="replace"))
    return _CONTROLS.sub("", text.expandtabs(_TAB_WIDTH))


def _truncate_json(text: str) -> str:
    """As much of a text as makes a JSON text of `VALUE_MAX` with `MARK`."""
    room = VALUE_MAX_BYTES - len(msgspec.json.encode(ELLIPSIS))
    sizes = accumulate(len(msgspec.json.encode(character)) - 2 for character in text)  # unquoted
    fitting = takewhile(lambda pair: pair[1] <= room, zip(text, sizes, strict=True))
    return "".join(character for character, _ in fitting) + ELLIPSIS
