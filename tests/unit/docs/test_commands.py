"""The commands that pages name within their text. Those in blocks are tested with the blocks."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from relay import cli
from tests.unit.docs.pages import PAGES, code, page_name, prose

_COMMAND = re.compile(r"\brelay (\w+[^|\\#>)\n]*)")


def find_relay_commands(page: Path) -> list[str]:
    """Return the arguments of the commands of relay that stand between backticks."""
    found = [each for line in code(prose(page)) for each in _COMMAND.findall(line)]
    return sorted({it.strip() for it in found if it.split()[0] in cli.COMMANDS})


def test_there_are_commands() -> None:
    """The pages are read as intended."""
    found = {command for page in PAGES for command in find_relay_commands(page)}
    assert len(found) > 30
    assert "check" in found


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_command_has_these_options(page: Path) -> None:
    """It exists, and so do its subcommand and its options; arguments may be left out."""
    for arguments in find_relay_commands(page):
        assert list(find_unknown(arguments)) == [], arguments


def find_unknown(arguments: str) -> Iterator[str]:
    """Yield the options that the command does not have."""
    name, *rest = shlex.split(arguments.replace("…", "x"))
    command = cli.relay.get_command(click.Context(cli.relay), name)
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        command = command.get_command(click.Context(command), rest.pop(0))
    assert command is not None, arguments
    own = rest[: rest.index("--")] if "--" in rest else rest  # what follows is another command
    known = {option for it in command.params for option in it.opts} | {"--help"}
    named = {word.split("=")[0] for word in own if word.startswith("--")}
    yield from named - known


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_no_command_of_others_fails(page: Path) -> None:
    """What did: docker knows no ``now``, and nothing of relay can be installed by its name."""
    text = page.read_text()
    assert "--until now" not in text
    assert not re.search(r"(pip|uv|pipx) install [^-\n]*docker-event-relay", text)
