"""How commands format times, failures, names and JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli.tables import (
    NAME_MAX,
    describe_failure,
    format_duration,
    format_name,
    format_table,
    format_time,
    to_json_line,
)
from relay.core.exchange import Answer
from relay.core.text import utf16_length
from relay.core.zone import UTC_ZONE
from tests.unit.destinations.strategies import hostile

SECOND_NS = 10**9


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (0.4, "0 s"),
        (4, "4 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (3_600, "1 h"),
        (3_605, "1 h"),
        (3_725, "1 h 2 min"),
        (86_400 + 59 * 60, "1 d"),
        (30 * 86_400 + 3 * 3_600, "30 d 3 h"),
    ],
)
def test_a_duration(duration_s: float, text: str) -> None:
    """Has its two largest units."""
    assert format_duration(int(duration_s * SECOND_NS)) == text


def test_a_time() -> None:
    """Is in UTC, to the second."""
    assert format_time(1_795_416_514_938_518_046, zone=UTC_ZONE) == "2026-11-23 06:48:34Z"


@pytest.mark.parametrize(
    ("reason", "answer", "text"),
    [
        (None, None, ""),
        ("expired", None, "expired"),
        ("expired", Answer(503, "busy", None), "expired: 503"),
        ("refused", Answer(400, "", "invalid_payload"), "refused: 400"),
        ("timeout", Answer(None, "", "no answer within 15 s"), "timeout: no answer within 15 s"),
    ],
)
def test_a_failure(reason: str | None, answer: Answer | None, text: str) -> None:
    """Has the reason, and the status or else the error."""
    assert describe_failure(reason, answer) == text


def test_a_table() -> None:
    """Columns are as wide as their widest cell; lines do not end with blanks."""
    assert list(format_table([("A", "B"), ("longer", "x"), ("", "")])) == [
        "A       B",
        "longer  x",
        "",
    ]


@given(hostile)
def test_a_name(text: str) -> None:
    """Is printable and short."""
    assert format_name(text).isprintable()
    assert utf16_length(format_name(text)) <= NAME_MAX


@given(st.dictionaries(hostile, hostile))
def test_json(value: dict[str, str]) -> None:
    """Has the same value, and only printable characters."""
    line = to_json_line(value)
    assert line.isprintable()
    assert json.loads(line) == value


def test_json_stays_readable() -> None:
    """Printable characters are not escaped."""
    assert to_json_line({"名": "für 🔥"}) == '{"名":"für 🔥"}'
