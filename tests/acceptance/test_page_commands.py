"""The commands of the pages are executed, in order, and print what the pages show.

Each page has a machine of its own (`tests.support.throwaway`), with an engine at the usual place
and a receiver in place of each service. Programs that would change or ask something outside have
stand-ins, in ``tests/support/stand_ins``. What needs relay's image is executed by ``test_image``.
Every other command that is not executed is in `NOT_RUN`, with the reason.
"""

import re
import shlex
import sys

import pytest

from tests.acceptance.contained_pages import PAGES
from tests.acceptance.page_commands import (
    COMMANDS,
    ELSEWHERE,
    MARK,
    NOT_RUN,
    find_executed,
    find_of_the_image,
    find_reason,
    find_shell,
    find_unprinted,
    make_answers,
    make_pattern,
    substitute,
)
from tests.acceptance.page_scenes import BEFORE, SCENES, Scene
from tests.support.docker import PrivateEngine
from tests.support.receiver import Receiver
from tests.support.throwaway import REPOSITORY, Machine
from tests.unit.docs.commands import Command, find_commands
from tests.unit.docs.pages import Block

STAND_INS = REPOSITORY / "tests" / "support" / "stand_ins"


def find_scenes() -> list[Scene]:
    """Return those of several pages, and one for each other page with commands to execute."""
    among = {page for scene in SCENES for page in scene.pages}
    return [
        *SCENES,
        *(Scene((page,)) for page in COMMANDS if page not in among and find_executed(page)),
    ]


def test_every_reason_has_its_command() -> None:
    """None is left of a command that is gone."""
    found = {(page, command.text) for page, commands in COMMANDS.items() for command in commands}
    texts = {text for _, text in found}
    assert [form for form in NOT_RUN if not any(re.fullmatch(form, it) for it in texts)] == []
    assert ELSEWHERE.keys() | BEFORE.keys() <= found


def test_the_commands_of_the_image_are_executed() -> None:
    """By ``test_image``, for some pages: those of the others are among these."""
    executed = {
        command.text.split("  ")[0] for page in PAGES for command in find_of_the_image(page)
    }
    for page in COMMANDS:
        assert {command.text.split("  ")[0] for command in find_of_the_image(page)} <= executed


@pytest.mark.parametrize("scene", find_scenes(), ids=lambda scene: "+".join(scene.pages))
def test_the_commands(scene: Scene, engine: PrivateEngine, receiver: Receiver) -> None:
    """Each succeeds, and prints what its page shows, in this order."""
    receiver.answer(make_answers())
    steps = [(page, command) for page in scene.pages for command in find_executed(page)]
    script = f"RECEIVER={receiver.url('')}\n{scene.script}\n"
    for page in scene.pages:
        script += "".join(write_block(page, block, receiver) for block in find_shell(page))
    ended = Machine(engine.socket_path).run(script, make_environment())
    assert ended.returncode == 0, ended.stdout
    _, *printed = ended.stdout.split(MARK)
    problems = [
        f"{page}: {command.text}\nprints\n{text}instead of\n{line}"
        for (page, command), text in zip(steps, printed, strict=True)
        for line in find_unprinted(command.output or "", text)
    ]
    assert not problems, "\n\n".join(problems)


def make_environment() -> dict[str, str]:
    """Return what the stand-ins need."""
    return {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(REPOSITORY),
        "PATH": f"{STAND_INS}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }


def write_block(page: str, block: Block, receiver: Receiver) -> str:
    """Return the lines of a script that execute a block, in the folder where each begins."""
    commands = [it for it in find_commands(block) if find_reason(page, it) is None]
    steps = [write_step(page, command, receiver) for command in commands]
    return "".join([f"cd {REPOSITORY}\n", *steps])


def write_step(page: str, command: Command, receiver: Receiver) -> str:
    """Return the lines of a script that execute a command; what it prints follows a mark."""
    before = BEFORE.get((page, command.text), "")
    lines = (command.output or "").splitlines()
    prints = make_pattern(lines[-1]) if lines else '"engine.connected"|Slack'
    text = substitute(command.text, receiver)
    may_fail = " || true" if command.output else ""
    return (
        f"{before}\nprintf '{MARK}'\nexport PRINTS={shlex.quote(prints)}\n"
        f"{{ {text}\n}} 2>&1{may_fail}\n"
    )
