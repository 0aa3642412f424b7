"""Logs, health checks and inspect fields: parsed, cleaned and bounded."""

import json
import struct
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.core.text import ELLIPSIS
from relay.ingest.docker.engine.container_details import (
    TEXT_MAX_BYTES,
    VALUE_MAX_BYTES,
    LogEnd,
    get_path,
    inspect_field,
    last_health_output,
    parse_log,
    parse_object,
)

OUT, ERR = 1, 2


def frame(stream: int, content: bytes) -> bytes:
    return struct.pack(">BxxxI", stream, len(content)) + content


def last_lines(body: bytes, *, framed: bool, max_lines: int) -> tuple[str, ...]:
    """Return the last lines of a log that is not cut at some time."""
    return parse_log(body, framed=framed, max_lines=max_lines).lines


def parse_lines(*lines: bytes, most: int = 200) -> tuple[str, ...]:
    """Return the lines that are kept of the log of a container with a terminal."""
    return last_lines(b"".join(line + b"\r\n" for line in lines), framed=False, max_lines=most)


def with_health_output(output: object) -> Any:
    """Return an inspection whose last health check has this output."""
    return {"State": {"Health": {"Log": [{"Output": "an earlier one"}, {"Output": output}]}}}


def test_frames_as_an_engine_sent_them() -> None:
    """Engine 20.10's answer for a container that printed in red, and then an error."""
    body = b"\x01\0\0\0\0\0\0\r\x1b[31mred\x1b[0m\n\x02\0\0\0\0\0\0\x04err\n"
    assert last_lines(body, framed=True, max_lines=5) == ("red", "err")


def test_a_terminals_log_has_no_frames() -> None:
    """The log of a terminal is one stream without frames, and its lines end with CRLF."""
    assert last_lines(b"a\r\nb\r\n", framed=False, max_lines=5) == ("a", "b")


def test_the_last_lines_are_kept() -> None:
    """Lines that the engine sends beyond the requested number are dropped."""
    body = frame(OUT, b"".join(b"%d\n" % n for n in range(30)))
    assert last_lines(body, framed=True, max_lines=3) == ("27", "28", "29")


def test_frames_cut_lines_and_characters() -> None:
    """The output of each stream is joined again, whatever the other one sends in between."""
    body = frame(OUT, "gr\xfc".encode()[:3]) + frame(ERR, b"error\nhal") + frame(OUT, b"\xbcn\n")
    assert last_lines(body, framed=True, max_lines=5) == ("error", "grün", "hal")


@pytest.mark.parametrize("end", range(9, 13))
def test_an_incomplete_last_frame(end: int) -> None:
    """The part of an incomplete frame that arrived is kept."""
    assert last_lines(frame(OUT, b"12345\n")[:end], framed=True, max_lines=5) == (
        "12345"[: end - 8],
    )


@pytest.mark.parametrize("body", [b"", b"\x01", frame(OUT, b"")])
def test_an_empty_log_has_no_lines(body: bytes) -> None:
    """A container that printed nothing has no log lines."""
    assert last_lines(body, framed=True, max_lines=5) == ()


def test_blank_lines_are_kept() -> None:
    """Blank lines are kept."""
    assert parse_lines(b"a", b"", b"b") == ("a", "", "b")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\xc2\x9b1;31mred\xc2\x9b0m", "red"),
        (b"\x1b[?25l\x1b[2 q\x1b[38:2::1:2:3mtext", "text"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]8;;https://evil.example\x1b\\text\x1b]8;;\x1b\\", "text"),
        (b"\x1bPdcs\xc2\x9ctext", "text"),
        (b"\x1b(Btext\x1b7\x1bc", "text"),
        (b"\x1b]0;never ended", "0;never ended"),
        (b"\x1b[12", "12"),
        (b"a\x1b", "a"),
        (b"10 %\r50 %\r100 %", "100 %"),
        (b"a\tb", "a   b"),
        (b"a\0b\x08c\x7fd\xc2\x85e", "abcde"),
        (b"caf\xe9 \xff", "caf\ufffd \ufffd"),
        ("日本 🔥".encode(), "日本 🔥"),
    ],
)
def test_lines_are_shown_as_a_terminal_shows_them(line: bytes, shown: str) -> None:
    """Escape sequences are removed whole, other controls alone; invalid UTF-8 is marked."""
    assert parse_lines(line) == (shown,)


def test_long_logs_keep_their_end() -> None:
    """Whole lines as long as they fit, and the end of one more after the ellipsis."""
    lines = parse_lines(*(b"%04d" % n * 25 for n in range(100)))
    assert lines[-1] == "0099" * 25
    assert lines[0].startswith(ELLIPSIS)
    assert ("0059" * 25).endswith(lines[0].removeprefix(ELLIPSIS))
    assert TEXT_MAX_BYTES - 4 <= len("\n".join(lines).encode()) <= TEXT_MAX_BYTES


def test_an_ellipsis_replaces_a_whole_line() -> None:
    """If no character of the line before fits, the ellipsis stands for the whole line."""
    assert parse_lines(b"before", b"x" * (TEXT_MAX_BYTES - 5)) == (
        ELLIPSIS,
        "x" * (TEXT_MAX_BYTES - 5),
    )


def test_no_character_is_cut_in_two() -> None:
    """The bound is in bytes; whole characters are kept."""
    (line,) = parse_lines("日".encode() * 2000)
    assert set(line) == {ELLIPSIS, "日"}


_STAMPS = [b"2026-11-30T16:46:08Z ", b"2026-99-30T16:46:08+99:00 "]
_CONTROLS = [
    b"\x1b[",
    b"\x1b]",
    b"\xc2\x9b",
    b"\x1bP",
    b"\x07",
    b"31m",
    b"\n",
    b"\r",
    b"\t",
    b"\xe6\x97",
]
_PIECES = st.sampled_from([*_CONTROLS, *_STAMPS])
_junk = st.lists(_PIECES | st.binary(), max_size=50).map(b"".join)
_bodies = _junk | st.lists(st.builds(frame, st.integers(0, 255), _junk)).map(b"".join)


@given(_bodies, st.booleans(), st.integers(1, 200))
@example(b"\t" * 5000, False, 1)
@example(b"\xff" * 5000, False, 1)
def test_any_log(body: bytes, framed: bool, most: int) -> None:
    """Any bytes give no more lines or text than allowed, and no control character."""
    lines = parse_log(body, framed=framed, max_lines=most, until_ns=1).lines
    assert len(lines) <= most
    assert len("\n".join(lines).encode()) <= TEXT_MAX_BYTES
    assert not any(unicodedata.category(character) == "Cc" for character in "".join(lines))


@given(st.lists(st.tuples(st.sampled_from([OUT, ERR]), st.text("ab"))), st.data())
def test_the_frame_boundaries_make_no_difference(
    printed: list[tuple[int, str]], data: st.DataObject
) -> None:
    """The lines of each stream are whole and in order, however the engine cuts them."""
    whole = [frame(stream, f"{stream}{text}\n".encode()) for stream, text in printed]
    cut = []
    for stream, text in printed:
        line = f"{stream}{text}\n".encode()
        at = data.draw(st.integers(0, len(line)))
        cut += [frame(stream, line[:at]), frame(stream, line[at:])]
    once = last_lines(b"".join(whole), framed=True, max_lines=200)
    assert last_lines(b"".join(cut), framed=True, max_lines=200) == once


DEATH_NS = 1_796_057_168_272_896_159
"""2026-11-30T16:46:08.272896159Z"""
DOCKER_LOG = [
    (OUT, b"2026-11-30T16:46:08.236206056Z last words\n"),
    (ERR, b"2026-11-30T16:46:08.272896159Z 2026-11-30T16:46:09.0Z not a time\n"),
    (OUT, b"2026-11-30T16:46:08.741542668Z boot 1\n"),
    (ERR, b"2026-11-30T16:46:08.741610219Z boot 2\n"),
]
PODMAN_LOG = [
    (OUT, b"2026-11-30T17:46:07+01:00 before\n"),
    (OUT, b"2026-11-30T17:46:08+01:00 last words\n"),
    (OUT, b"2026-11-30T17:46:08+01:00 boot 1\n"),
    (OUT, b"2026-11-30T17:46:09+01:00 boot 2\n"),
]


@pytest.mark.parametrize("framed", [True, False])
def test_a_log_is_cut_at_a_time(framed: bool) -> None:
    """Lines until that very nanosecond are kept, without their times; a container's own stay."""
    body = b"".join(frame(*it) if framed else it[1] for it in DOCKER_LOG)
    end = parse_log(body, framed=framed, max_lines=5, until_ns=DEATH_NS)
    assert end == LogEnd(("last words", "2026-11-30T16:46:09.0Z not a time"), is_cut=True)
    assert len(parse_log(body, framed=framed, max_lines=5).lines) == 4


@pytest.mark.parametrize(
    ("keep", "lines"), [(False, ("before",)), (True, ("before", "last words", "boot 1"))]
)
def test_whole_seconds_of_another_time_zone(keep: bool, lines: tuple[str, ...]) -> None:
    """Podman's times do not tell what came first within a second."""
    body = b"".join(frame(*it) for it in PODMAN_LOG)
    end = parse_log(body, framed=True, max_lines=5, until_ns=DEATH_NS, keep_same_second=keep)
    assert end == LogEnd(lines, is_cut=True)


def test_a_line_in_two_pieces_has_two_times() -> None:
    """Docker splits lines at 16 KiB; the pieces become one line again."""
    stamp = b"2026-11-30T16:46:08.236206056Z "
    body = frame(OUT, stamp + b"a" * 9) + frame(OUT, stamp + b"b\n")
    assert last_lines(body, framed=True, max_lines=5) == ("aaaaaaaaab",)


def test_the_output_of_the_last_health_check() -> None:
    """The output of a health check is cleaned like the lines of a log."""
    assert last_health_output(with_health_output("\x1b[31mno\x1b[0m\r\nanswer\n")) == "no\nanswer"
    assert last_health_output(with_health_output("")) == ""


@pytest.mark.parametrize(
    "inspected",
    [
        {},
        {"State": None},
        {"State": {"Status": "running"}},
        {"State": {"Health": None}},
        {"State": {"Health": {"Status": "starting", "Log": []}}},
        {"State": {"Health": {"Log": {"Output": "x"}}}},
        {"State": {"Health": {"Log": ["x"]}}},
        with_health_output(None),
        with_health_output(5),
    ],
)
def test_no_health_check(inspected: dict[str, object]) -> None:
    """Without the output of a health check, or with anything else in its place, there is none."""
    assert last_health_output(inspected) is None


@given(st.text())
def test_any_health_check(output: str) -> None:
    """Any output is bounded, and has no controls except line breaks."""
    shown = last_health_output(with_health_output(output))
    assert shown is not None
    assert len(shown.encode()) <= TEXT_MAX_BYTES
    assert not any(unicodedata.category(it) == "Cc" for it in shown.replace("\n", ""))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("RestartCount", 3),
        ("State.Error", ""),
        ("State", {"Error": "", "Health": None}),
        ("State.Health", None),
        ("State.Health.Log", None),
        ("Config.Labels.com.docker.compose.project", "shop"),
        ("Config.Labels.tier", "web"),
        ("RestartCount.x", None),
        ("restartcount", None),
        ("Mounts.0", None),
        ("State.", None),
        (".State", None),
    ],
)
def test_fields_by_their_path(path: str, value: object) -> None:
    """A key with dots is found too; a missing value is None."""
    inspected = {
        "RestartCount": 3,
        "State": {"Error": "", "Health": None},
        "Config": {"Labels": {"com.docker.compose.project": "shop", "tier": "web"}},
        "Mounts": ["a"],
    }
    assert get_path(inspected, path) == value
    assert inspect_field(inspected, path) == value


def test_a_long_field_is_truncated() -> None:
    """A text stays a text, anything else becomes its JSON; the ellipsis marks the cut."""
    inspected = {"Error": "x" * 5000, "Args": ["y" * 100] * 20, "Fits": "z" * (VALUE_MAX_BYTES - 2)}
    assert inspect_field(inspected, "Error") == "x" * (VALUE_MAX_BYTES - 5) + ELLIPSIS
    assert str(inspect_field(inspected, "Args")).startswith(f'["{"y" * 100}","')
    assert str(inspect_field(inspected, "Args")).endswith(ELLIPSIS)
    assert inspect_field(inspected, "Fits") == "z" * (VALUE_MAX_BYTES - 2)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_values | st.text('\x00"\\日', min_size=300))
def test_any_field(value: object) -> None:
    """Any JSON value is kept as JSON of at most `VALUE_MAX_BYTES`."""
    inspected = parse_object(json.dumps({"Field": value}).encode())
    if inspected is not None:
        assert len(msgspec.json.encode(inspect_field(inspected, "Field"))) <= VALUE_MAX_BYTES


@given(st.binary() | st.text('[{"a":1,}]').map(str.encode))
@example(b"[" * 100_000)
@example(b'{"a": "\xff"}')
def test_any_answer(body: bytes) -> None:
    """An engine or a proxy may answer anything; only a JSON object is an inspection."""
    inspected = parse_object(body)
    assert inspected is None or isinstance(inspected, dict)


def test_an_inspection_is_an_object() -> None:
    """Its fields are unchanged."""
    assert parse_object(b'{"RestartCount": 3}') == {"RestartCount": 3}
    assert parse_object(b"[]") is None
    assert parse_object(b"<html>") is None


def test_the_end_of_a_very_long_line() -> None:
    """Only the end of the line is looked at, so that a log of one line costs no time."""
    (line,) = last_lines(b"\x1b[0m" * 10**6 + b"the end", framed=False, max_lines=5)
    assert line.endswith("the end")


def test_only_the_last_of_very_many_lines_are_looked_at() -> None:
    """Also if the line that they follow began in another frame."""
    frames = b"".join(
        struct.pack(">BxxxI", 1, len(part)) + part for part in (b"begins", b"\n" * 10**6 + b"end")
    )
    assert last_lines(frames, framed=True, max_lines=3) == ("", "", "end")
    assert last_lines(frames, framed=True, max_lines=2 * 10**6)[-1] == "end"
