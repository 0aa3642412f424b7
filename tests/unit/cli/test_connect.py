"""Connecting to the running relay or its store, with an outline of the configuration."""

from pathlib import Path

import pytest

from relay.config import ConfigOutline, read_outline
from relay.config.origin import of_file
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


def test_no_secret_is_needed(installation: Installation) -> None:
    """Commands work without the secrets of the destinations."""
    in_store(installation.store, add_three)
    installation.file.write_text(SECRETS)
    for command in (["dead", "list"], ["outbox", "list"], ["dead", "show", "1"]):
        assert run(*command).exit_code == 0
    result = run("dead", "replay", "1", "2", "3")
    assert result.exit_code == 0
    assert "replayed 2 dead letters" in result.output


def test_an_outline_of_a_wrong_configuration(tmp_path: Path) -> None:
    """The outline is read however wrong the rest is."""
    file = tmp_path / "config.yaml"
    file.write_text(f"{SECRETS}nonsense: 1\n")
    assert read_outline(of_file(file), {}) == ConfigOutline(
        Path("relay.db"), ("ops", "audit"), ("audit",), ("local",), ("crashed",)
    )
    file.write_text("destinations: 5\nengines: {a: 1, b: }\nstore: {path: '${WHERE}/x'}\n")
    assert read_outline(of_file(file), {"WHERE": "/w"}) == ConfigOutline(
        Path("/w/x"), (), (), ("a", "b"), ()
    )


@pytest.mark.parametrize("text", ["store: {path: '${NOBODY_SET_THIS}'}", "[", ""])
def test_no_outline(tmp_path: Path, text: str) -> None:
    """Without readable YAML or a store path the problems are raised."""
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        read_outline(of_file(file), {})


def test_a_store_that_only_systemd_knows(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing store at a default path is an error, since relay may run with another one."""
    installation.file.write_text(SECRETS.replace("store: {path: relay.db}", ""))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "none"))
    for command in (["dead", "list"], ["outbox", "list"], ["dead", "replay", "--all"]):
        message = failure(run(*command))
        assert str(tmp_path / "none" / "relay" / "relay.db") in message
        assert "STATE_DIRECTORY" in message
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    in_store(installation.store, add_three)
    assert run("dead", "list").exit_code == 0


async def test_a_store_that_is_in_use(tmp_path: Path) -> None:
    """Opening it a second time raises `StoreInUse`."""
    async with open_outbox(tmp_path / "relay.db"):
        with pytest.raises(StoreInUse):
            async with open_outbox(tmp_path / "relay.db"):
                raise AssertionError("it is in use")
