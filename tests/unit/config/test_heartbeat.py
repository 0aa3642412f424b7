"""The heartbeat section."""

from datetime import timedelta
from pathlib import Path

import pytest

from relay.config import Config
from relay.core.errors import ConfigError
from relay.destinations.catalog import parse_config

REST = """
destinations: {ops: {type: console}}
routes: [{name: everything, to: ops}]
"""


def _parse(section: str) -> Config:
    return parse_config(section + REST, file="f", environ={}, folder=Path())


def test_no_heartbeat_section() -> None:
    """Without the section there is no heartbeat."""
    assert _parse("").heartbeat is None


def test_heartbeat_section() -> None:
    """The section gives the interval."""
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
def test_invalid_heartbeat_section(section: str, problem: str) -> None:
    """The error is one line with its position."""
    with pytest.raises(ConfigError) as caught:
        _parse(section)
    assert str(caught.value) == problem
