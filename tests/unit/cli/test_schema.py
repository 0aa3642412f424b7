"""``relay schema``, the completion of the shell, and what a command is made of."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from relay import cli
from relay.config.schema import build_schema

PROGRAM = "import sys; sys.argv = ['relay']; from relay.cli import main; main()"


def test_the_schema_is_printed() -> None:
    """As JSON, and nothing else."""
    result = CliRunner().invoke(cli.relay, ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == build_schema()


def completed(**environ: str) -> str:
    """What the program prints to a shell that asks."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_the_shell(shell: str) -> None:
    """That asks relay."""
    script = completed(_RELAY_COMPLETE=f"{shell}_source")
    assert f"_RELAY_COMPLETE={shell}_complete" in script


def test_what_a_shell_is_told() -> None:
    """The commands that begin so."""
    found = completed(_RELAY_COMPLETE="bash_complete", COMP_WORDS="relay re", COMP_CWORD="1")
    assert found.split() == ["plain,reload", "plain,replay"]


def test_a_command_is_imported_by_itself() -> None:
    """A daemon starts without what only other commands, templates and metrics need."""
    program = (
        "import sys; from relay.cli import relay; relay.get_command(None, 'run');"
        "from relay.config import default; default(); print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(ran.stdout.split())
    assert "relay.daemon.run" in loaded
    assert not loaded & {"relay.cli.check", "relay.demo", "relay.rehearsal", "jinja2"}
    assert "prometheus_client" not in loaded


def test_a_command_that_is_mistyped_is_guessed() -> None:
    """Though none is imported that is not needed."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("['relay']", "['relay', 'tes']")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "Did you mean 'test'?" in ran.stderr
