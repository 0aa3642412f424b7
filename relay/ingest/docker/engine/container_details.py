"""Parses a container's logs, health check output and inspect fields, and bounds their size.

Whoever runs the container controls all of this content. Nothing here raises, even if it is
malformed.
"""

import re
import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import accumulate, takewhile

import msgspec

from relay.core.event import format_rfc3339
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

_STAMP = re.compile(
    rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?"
    rb"(Z|[+-][0-9]{2}:[0-9]{2}) "
)
"""The time before each line of a log, in RFC 3339: Docker's has nine digits and is in UTC, Podman's
has whole seconds in its host's time zone (measured with 4.3)."""

_LINE = re.compile(rb"[^\n]*\n|[^\n]+")

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


class LogEnd(msgspec.Struct, frozen=True):
    """The last lines of a log, or the last before some time."""

    lines: tuple[str, ...]
    """As a terminal would show them. If text was cut, the first starts with `ELLIPSIS`."""
    is_cut: bool = False
    """Whether lines were left out because they are, or may be, later."""


def parse_log(
    body: bytes,
    *,
    framed: bool,
    max_lines: int,
    until_ns: int | None = None,
    keep_same_second: bool = False,
) -> LogEnd:
    """Return the last lines of a log with times, or those until ``until_ns``.

    At most ``max_lines`` lines and `TEXT_MAX_BYTES`. The log of a container without a terminal is
    ``framed``: its standard output and error come in frames, which cut lines and characters in two,
    and the frames of the two streams alternate. Podman's times are whole seconds, so whether a line
    of the last second is too late is not known: ``keep_same_second`` keeps these lines.
    """
    frames = _split_frames(body) if framed else ((1, line[0]) for line in _LINE.finditer(body))
    until = None if until_ns is None else format_rfc3339(until_ns).encode()
    is_cut = False

    def select() -> Iterator[tuple[int, bytes]]:
        nonlocal is_cut
        for stream, content in frames:
            stamp = _STAMP.match(content)
            if stamp is None:
                yield stream, content
            elif until is None or _is_before(stamp, until, keep_same_second=keep_same_second):
                yield stream, content[stamp.end() :]
            else:
                is_cut = True

    lines = _keep_end(_join_lines(select(), max_lines))
    return LogEnd(lines, is_cut)


def _is_before(stamp: re.Match[bytes], until: bytes, *, keep_same_second: bool) -> bool:
    """Whether the time of a line is at most ``until``, an RFC 3339 time with nine digits."""
    time, fraction, zone = stamp.groups()
    if zone != b"Z":
        try:
            local = datetime.fromisoformat((time + zone).decode())
            time = f"{local.astimezone(UTC):%Y-%m-%dT%H:%M:%S}".encode()
        except (ValueError, OverflowError):
            return True  # not a real time, so it proves nothing
    if fraction:
        return time + fraction.ljust(10, b"0") + b"Z" <= until
    same = until[: len(time)]
    return time <= same if keep_same_second else time < same


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
