"""What a container last printed, and what else an engine tells of it, made fit to be kept.

All of it was written by whoever runs the container: nothing here raises, whatever it is.
"""

import re
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, takewhile

import msgspec

TEXT_MAX = 4096
"""How much text is kept of a log, and of what a health check printed, in bytes of UTF-8."""

VALUE_MAX = 1024
"""How much is kept of a field, in bytes of JSON."""

MARK = "…"
"""Stands where text was cut."""

_HEADER = struct.Struct(">BxxxI")
"""Of a frame: its stream and its size. See "Stream format" under "Attach to a container" in the
Docker Engine API."""

_TAB = 4

# ECMA-48, sections 5.3 to 5.6: control sequences, control strings, other escape sequences. No
# quantifier gives anything back and no string holds what may begin one: each byte is read once.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*+(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*+[0-~]"
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def inspection(body: bytes) -> Mapping[str, object] | None:
    """The JSON object in an engine's answer; None where there is none."""
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def log_lines(body: bytes, *, framed: bool, most: int) -> tuple[str, ...]:
    """The last lines of a log, at most ``most`` and `TEXT_MAX`, as a terminal would show them.

    ``framed`` is the body of a container without a terminal: its standard output and error come in
    frames, which cut lines and characters in two, and overtake each other between. Where text is
    cut, the first line begins with `MARK`.
    """
    frames = _frames(body) if framed else iter([(1, body)])
    return _last(_lines(frames, most))


def health_output(inspected: Mapping[str, object]) -> str | None:
    """What the last health check printed, as `log_lines` are; None if there was none."""
    checks = pick(inspected, "State.Health.Log")
    last = checks[-1] if isinstance(checks, list) and checks else None
    output = pick(last, "Output")
    if not isinstance(output, str):
        return None
    return "\n".join(_last(output.encode(errors="replace").strip(b"\r\n").split(b"\n")))


def field(inspected: Mapping[str, object], path: str) -> object:
    """The JSON value at a path, None if there is none.

    One of more than `VALUE_MAX` becomes a text, of its JSON unless it is one already: the beginning
    of it and `MARK`.
    """
    value = pick(inspected, path)
    written = msgspec.json.encode(value)
    if len(written) <= VALUE_MAX:
        return value
    return _beginning(value if isinstance(value, str) else written.decode())


def pick(value: object, path: str) -> object:
    """What stands at a dotted path in a JSON value, None if nothing does.

    A key may have dots itself: ``Config.Labels.com.docker.compose.service``.
    """
    if not isinstance(value, Mapping):
        return None
    if path in value:
        return value[path]
    first, _, rest = path.partition(".")
    return pick(value.get(first), rest) if rest else None


def _frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Each frame's stream and content; the last may be cut short."""
    at = 0
    while len(body) - at > _HEADER.size:
        stream, size = _HEADER.unpack_from(body, at)
        at += _HEADER.size
        yield stream, body[at : at + size]
        at += size


def _lines(frames: Iterable[tuple[int, bytes]], most: int) -> list[bytes]:
    """The last lines, in the order in which they ended; those that did not end come last."""
    ended: deque[bytes] = deque(maxlen=most)
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


def _last(lines: list[bytes]) -> tuple[str, ...]:
    """As many of the last lines as `TEXT_MAX` holds, line ends counted."""
    kept: deque[str] = deque()
    room = TEXT_MAX - len(f"{MARK}\n".encode())
    for line in reversed(lines):
        text = _clean(line)
        written = text.encode()
        if len(written) + 1 > room:
            kept.appendleft(MARK + written[max(0, len(written) - room) :].decode(errors="ignore"))
            break
        room -= len(written) + 1
        kept.appendleft(text)
    return tuple(kept)


def _clean(line: bytes) -> str:
    """A line as a terminal leaves it: what was overwritten, colours and controls are not there."""
    shown = line.rstrip(b"\r").rpartition(b"\r")[2]
    text = _ESCAPES.sub("", shown.decode(errors="replace"))
    return _CONTROLS.sub("", text.expandtabs(_TAB))


def _beginning(text: str) -> str:
    """As much of a text as makes a JSON text of `VALUE_MAX` with `MARK`."""
    room = VALUE_MAX - len(msgspec.json.encode(MARK))
    sizes = accumulate(len(msgspec.json.encode(character)) - 2 for character in text)  # unquoted
    fitting = takewhile(lambda pair: pair[1] <= room, zip(text, sizes, strict=True))
    return "".join(character for character, _ in fitting) + MARK
