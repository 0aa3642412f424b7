"""How often relay is to say that it lives."""

from datetime import timedelta
from pathlib import Path

import pytest

from relay.config import Config, parse
from relay.core.errors import ConfigError

REST = """
destinations: {ops: {type: console}}
routes: [{name: everything, to: ops}]
"""


def _parse(section: str) -> Config:
    return parse(section + REST, file="f", environ={}, folder=Path())


def test_never() -> None:
    """Without the section there is none."""
    assert _parse("").heartbeat is None


def test_now_and_then() -> None:
    """The section says how often."""
    heartbeat = _parse("heartbeat: {every: 10s}").heartbeat
    assert heartbeat is not None
    assert heartbeat.every == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("heartbeat:", "f:1:11: heartbeat: is empty: write {every: 1m}, or remove it"),
        ("heartbeat: {}", "f:1:1: heartbeat: needs 'every'"),
        ("heartbeat: {every: 9s}", "f:1:20: heartbeat.every: '9s' is less than 10s"),
        ("heartbeat: {every: 0s}", "f:1:20: heartbeat.every: '0s' is less than 10s"),
        (
            "heartbeat: {every: 1}",
            "f:1:20: heartbeat.every: '1' has no unit: write a duration as 500ms, 10s, 5m, 72h "
            "or 7d",
        ),
    ],
)
def test_a_wrong_section(section: str, problem: str) -> None:
    """What is wrong is told in one line, with its place."""
    with pytest.raises(ConfigError) as caught:
        _parse(section)
    assert str(caught.value) == problem
