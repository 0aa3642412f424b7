from pathlib import Path

import pytest

from tests.unit.cli.cli_store import Installation

CONFIG = """
store: {path: relay.db}
destinations:
  ops: {type: console}
  audit: {type: console, ordering: none}
routes:
  - {name: crashed, to: [ops, audit]}
"""


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """A configuration with two destinations, whose store is not there yet."""
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    monkeypatch.setenv("RELAY_CONFIG", str(file))
    monkeypatch.setattr("relay.admin.logs.configure", lambda stream, level: None)
    return Installation(file, tmp_path / "relay.db")
