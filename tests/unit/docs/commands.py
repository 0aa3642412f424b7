"""The commands of the pages: the lines of a shell, and what relay's own parser says about them."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from itertools import groupby

import click
import msgspec

from relay import cli
from tests.unit.docs.pages import ROOT, Block

_FOLDERS = {"deploy", "tests", "tools", "docs"}
_FILE = re.compile(r"(?<![\w/.$-])([\w.-]+/[\w./-]+|requirements[\w-]*\.lock)")
_ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)
_OPERATORS = frozenset("();<>|&")


FAILS = ["--fail"]
"""What the pages have a container of relay's image do that is to fail."""


class Command(msgspec.Struct, frozen=True):
    """What a person types at one prompt, and what is printed then."""

    text: str
    """Lines that are continued are joined."""
    output: str | None = None
    """What the page says that it prints; None if it does not say it."""


def find_commands(block: Block) -> list[Command]:
    """Return the commands of a block for a shell, in order; those of a console begin with ``$``."""
    text = re.sub(r"\\\n\s*", " ", block.text)
    if block.language != "console":
        return [Command(line) for line in text.splitlines() if line]
    _, *sessions = re.split(r"^\$ ", text, flags=re.MULTILINE)
    found = (session.partition("\n") for session in sessions)
    return [Command(command, output or None) for command, _, output in found]


def check_shell(block: Block) -> Iterator[str]:
    """Yield what is wrong with a block of commands, without executing one."""
    if block.language == "console" and not block.text.startswith("$ "):
        yield "does not begin with a prompt"
    commands = find_commands(block)
    if problem := find_syntax_error("\n".join(command.text for command in commands)):
        yield problem
        return
    for command in commands:
        named = _FILE.findall(command.text)
        files = {each for each in named if each.split("/")[0] in _FOLDERS or ".lock" in each}
        yield from (f"there is no {each}" for each in files if not (ROOT / each).exists())
        for arguments in find_calls(command.text):
            yield from check_call(arguments)


def find_syntax_error(command: str) -> str:
    """Return what bash says about a command that it cannot read, else an empty text."""
    bash = shutil.which("bash")
    assert bash is not None
    ended = subprocess.run(
        [bash, "-n", "-c", command], capture_output=True, text=True, timeout=20, check=False
    )
    return ended.stderr


def find_calls(command: str) -> Iterator[Sequence[str]]:
    """Yield the arguments of each call of relay in a line, also of one in a container."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    for is_operator, group in groupby(lexer, key=lambda word: set(word) <= _OPERATORS):
        words = [word for word in group if not is_operator]
        while words and _ASSIGNMENT.fullmatch(words[0]):
            del words[0]
        if words and words[0].rpartition("/")[2] == "relay":
            yield words[1:]
        elif words[:2] == ["docker", "run"] or {"exec", "relay"} <= set(words):
            yield from _find_contained(words)


def _find_contained(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield what follows the image, or the program in its container."""
    places = [at for at, word in enumerate(words) if word == "relay" and words[at - 1] != "--name"]
    if places:
        yield words[places[-1] + 1 :]


def check_call(arguments: Sequence[str]) -> Iterator[str]:
    """Yield what relay's parser says about the arguments of a call; it runs nothing."""
    if [*arguments] in ([], FAILS):
        return
    command: click.Command = cli.relay
    try:
        context = command.make_context("relay", [*arguments])
        while isinstance(command, click.Group) and (rest := [*_rest(context)]):
            name, found, rest = command.resolve_command(context, rest)
            assert found is not None
            command = found
            context = command.make_context(name, rest, parent=context)
    except click.UsageError as error:
        yield f"relay {shlex.join(arguments)}: {error.format_message()}"
    except click.exceptions.Exit:
        pass  # as --version and --help end


def _rest(context: click.Context) -> Iterator[str]:
    yield from context._protected_args  # as click names the first of them
    yield from context.args
