"""Whom commands ask, and with how much of a configuration."""

from pathlib import Path

import pytest

from relay.config import ConfigOutline, read_outline
from relay.core.errors import ConfigError, StoreInUse
from relay.store.outbox import open_outbox
from tests.unit.cli.cli_store import Installation, failure, in_store, run
from tests.unit.cli.dead_letter_samples import add_three

SECRETS = """
store: {path: relay.db}
destinations:
  ops: {type: slack, url: "${NOBODY_SET_THIS}"}
  audit: {type: http, url_file: /run/credentials/none/audit, ordering: none}
routes:
  - {name: crashed, to: [ops, audit]}
"""


def test_no_secret_is_needed(place: Installation) -> None:
    """Whoever looks after a relay need not be able to send in its place."""
    in_store(place.store, add_three)
    place.file.write_text(SECRETS)
    for words in (["dead", "list"], ["outbox", "list"], ["dead", "show", "1"]):
        assert run(*words).exit_code == 0
    result = run("dead", "replay", "1", "2", "3")
    assert result.exit_code == 0
    assert "replayed 2 dead letters" in result.output


def test_an_outline_is_what_can_be_told(tmp_path: Path) -> None:
    """However wrong the rest is."""
    file = tmp_path / "config.yaml"
    file.write_text(f"{SECRETS}nonsense: 1\n")
    assert read_outline(file, {}) == ConfigOutline(
        Path("relay.db"), ("ops", "audit"), ("audit",), ("local",)
    )
    file.write_text("destinations: 5\nengines: {a: 1, b: }\nstore: {path: '${WHERE}/x'}\n")
    assert read_outline(file, {"WHERE": "/w"}) == ConfigOutline(Path("/w/x"), (), (), ("a", "b"))


@pytest.mark.parametrize("text", ["store: {path: '${NOBODY_SET_THIS}'}", "[", ""])
def test_an_outline_that_cannot_be_told(tmp_path: Path, text: str) -> None:
    """It says why, as for the whole."""
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        read_outline(file, {})


def test_a_store_of_which_only_systemd_knows(
    place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for one in which there is nothing: that would be a lie at the worst time."""
    place.file.write_text(SECRETS.replace("store: {path: relay.db}", ""))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "none"))
    for words in (["dead", "list"], ["outbox", "list"], ["dead", "replay", "--all"]):
        said = failure(run(*words))
        assert str(tmp_path / "none" / "relay" / "relay.db") in said
        assert "STATE_DIRECTORY" in said
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    in_store(place.store, add_three)
    assert run("dead", "list").exit_code == 0


async def test_a_store_that_is_in_use(tmp_path: Path) -> None:
    """Whoever comes second is told that, and by a type of its own."""
    async with open_outbox(tmp_path / "relay.db"):
        with pytest.raises(StoreInUse):
            async with open_outbox(tmp_path / "relay.db"):
                raise AssertionError("it is in use")
