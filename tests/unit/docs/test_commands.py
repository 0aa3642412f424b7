"""The commands that the pages tell people to run."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from relay import cli
from tests.unit.docs.pages import PAGES, blocks, code, prose

_COMMAND = re.compile(r"\brelay (\w+[^|\\#>)\n]*)")


def find_lines(page: Path) -> Iterator[str]:
    """Yield each line of a page that a shell would run, and what stands between backticks."""
    for language in ("sh", "console"):
        for text in blocks(page, language):
            yield from text.splitlines()
    yield from code(prose(page))


def find_relay_commands() -> Iterator[tuple[str, str]]:
    """Yield the name of a page and the arguments of a command on it."""
    for page in PAGES:
        for line in find_lines(page):
            for arguments in _COMMAND.findall(line):
                if arguments.split()[0] in cli.COMMANDS:
                    yield page.name, arguments.strip()


FOUND = sorted(set(find_relay_commands()))


def test_there_are_commands() -> None:
    """The pages are read as intended."""
    assert len(FOUND) > 30
    assert ("README.md", "check") in FOUND


@pytest.mark.parametrize(("page", "arguments"), FOUND)
def test_a_command_has_these_options(page: str, arguments: str) -> None:
    """It exists, and so do its subcommand and its options."""
    words = shlex.split(arguments.replace("…", "x"))
    command = cli.relay.get_command(click.Context(cli.relay), words[0])
    rest = words[1:]
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        command = command.get_command(click.Context(command), name)
    assert command is not None, page
    known = {option for it in command.params for option in it.opts} | {"--help"}
    assert {word.split("=")[0] for word in rest if word.startswith("--")} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_of_others_works(page: Path) -> None:
    """What did not: docker knows no ``now``, and nothing of relay can be installed by its name."""
    for line in find_lines(page):
        assert "--until now" not in line
        assert not re.search(r"(pip|uv|pipx) install [^-]*docker-event-relay", line)
