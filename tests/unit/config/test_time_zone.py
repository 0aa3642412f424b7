"""The key ``time_zone``: its default, and what is said of a name that is none."""

from pathlib import Path

import pytest

from relay.core.errors import ConfigError
from relay.destinations.catalog import load_config

REST = """
destinations: {out: {type: console}}
routes: [{name: all, to: out}]
"""
NONE = "is not a time zone: write its name in the IANA database, as in Europe/Berlin"
"""How a message goes on after the value."""


def load_with(tmp_path: Path, text: str) -> str:
    file = tmp_path / "relay.yaml"
    file.write_text(text + REST)
    return load_config(file, {"ZONE": "Asia/Tokyo"}).time_zone


def test_the_zone_of_a_configuration(tmp_path: Path) -> None:
    """It is UTC unless the configuration names another one, which may come from a variable."""
    assert load_with(tmp_path, "") == "UTC"
    assert load_with(tmp_path, "time_zone: Europe/Berlin") == "Europe/Berlin"
    assert load_with(tmp_path, "time_zone: ${ZONE}") == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "europe/berlin",
            f"'europe/berlin' {NONE} (did you mean 'Europe/Berlin'?)",
        ),
        (
            "Europe/Berlni",
            f"'Europe/Berlni' {NONE} (did you mean 'Europe/Berlin'?)",
        ),
        ("Berlin", f"'Berlin' {NONE} (did you mean 'Europe/Berlin'?)"),
        ("New York", f"'New York' {NONE} (did you mean 'America/New_York'?)"),
        ("utc", f"'utc' {NONE} (did you mean 'UTC'?)"),
        ("CET+1", f"'CET+1' {NONE}"),
        ("CEST", f"'CEST' {NONE}"),
        ("+01:00", f"'+01:00' {NONE}"),
        ("../etc", f"'../etc' {NONE}"),
        ("'' ", "is empty: write the name of a time zone, as in Europe/Berlin, or remove it"),
        ("", "is empty: write a value, or remove it"),
        ("[UTC]", "the value is not text: put it in quotes"),
    ],
)
def test_what_is_no_time_zone(tmp_path: Path, written: str, message: str) -> None:
    """The message says what to write, and which zone is probably meant."""
    with pytest.raises(ConfigError) as caught:
        load_with(tmp_path, f"time_zone: {written}")
    (problem,) = caught.value.problems
    assert (problem.line, problem.path, problem.message) == (1, "time_zone", message)
