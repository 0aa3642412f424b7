"""Help texts, and what a shell completes."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from relay import cli
from tests.unit.cli.cli_store import Installation, run


def find_commands(
    command: click.Command, *names: str
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield a command and all below it."""
    yield names, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from find_commands(inner, *names, name)


def test_every_option_has_help() -> None:
    """And a name for its value that says more than TEXT, unless its help does."""
    for names, command in find_commands(cli.relay):
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, (*names, option.name)


@pytest.mark.parametrize("names", [(), ("dead",), ("outbox",), ("destination",)])
def test_no_line_is_cut(names: tuple[str, ...]) -> None:
    """The summary of each command is shown to its end."""
    assert "..." not in run(*names, "--help").stdout.replace("[ARGS]...", "")


def complete(*words: str, incomplete: str = "") -> list[str]:
    """Return what a shell would offer."""
    shell = ShellComplete(cli.relay, {}, "relay", "_RELAY_COMPLETE")
    return [item.value for item in shell.get_completions(list(words), incomplete)]


@pytest.mark.usefixtures("installation")
def test_names_are_completed() -> None:
    """Destinations, routes and engines are those of the configuration."""
    assert complete("send") == ["ops", "audit"]
    assert complete("send", incomplete="o") == ["ops"]
    assert complete("destination", "enable", incomplete="a") == ["audit"]
    assert complete("outbox", "list", "--destination") == ["ops", "audit"]
    assert complete("dead", "drop", "--destination") == ["ops", "audit"]
    assert complete("dead", "list", "--route") == ["crashed"]
    assert complete("tail", "--engine") == ["local"]
    assert complete("send", "ops", "--event") == ["crash", "oom", "unhealthy"]


def test_names_of_another_file(installation: Installation, tmp_path: Path) -> None:
    """``--config`` counts if it stands before; nothing is offered if the file cannot be read."""
    other = tmp_path / "other.yaml"
    other.write_text("destinations: {pager: {type: nonsense}}")
    assert complete("send", "--config", str(other)) == ["pager"]
    assert complete("send", "--config", str(tmp_path / "none.yaml")) == []
    installation.file.write_text("[")
    assert complete("send") == []
