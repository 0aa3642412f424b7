from pathlib import Path

import pytest

from tests.component.scripted_engine import ScriptedEngine


@pytest.fixture
def engine(tmp_path: Path) -> ScriptedEngine:
    """An engine that is not there yet."""
    return ScriptedEngine(tmp_path / "engine.sock")
