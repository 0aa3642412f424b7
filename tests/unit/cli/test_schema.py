"""``relay schema``, shell completion, and commands that are mistyped."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from relay import cli
from relay.config.schema import build_schema
from relay.destinations.catalog import DESTINATION_TYPES

PROGRAM = "import sys; sys.argv = ['relay']; from relay.cli import main; main()"


def test_the_schema_is_printed() -> None:
    """Prints the schema as JSON, and nothing else."""
    result = CliRunner().invoke(cli.relay, ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == build_schema(DESTINATION_TYPES)


def completed(**environ: str) -> str:
    """Return what the program prints for a shell's completion."""
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
    """The script calls relay to complete words."""
    script = completed(_RELAY_COMPLETE=f"{shell}_source")
    assert f"_RELAY_COMPLETE={shell}_complete" in script


def test_completion() -> None:
    """Lists the commands with this prefix."""
    found = completed(_RELAY_COMPLETE="bash_complete", COMP_WORDS="relay re", COMP_CWORD="1")
    assert found.split() == ["plain,reload", "plain,replay"]


def test_a_mistyped_command() -> None:
    """Gets a suggestion, though commands are imported only when they are called."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("['relay']", "['relay', 'tes']")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "Did you mean 'test'?" in ran.stderr
