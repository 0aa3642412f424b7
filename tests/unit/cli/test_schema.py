"""``relay schema``, shell completion, and which modules a command imports."""

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


NOT_IMPORTED = {
    *("relay.cli.check", "relay.cli.demo", "relay.cli.connect", "relay.dryrun"),
    *("jinja2", "prometheus_client"),  # templates and metrics
    *("relay.admin.http", "relay.admin.api", "relay.admin.client", "aiohttp.web_app"),
    *("asyncssh", "cryptography"),  # engines behind ssh
    *("relay.destinations.http", "relay.destinations.slack"),  # other types of destinations
    *("relay.config.schema",),
}


def test_run_imports_only_what_it_uses() -> None:
    """The daemon starts without what other commands, templates, metrics, the admin API, ssh and
    other types of destinations need."""
    program = (
        "import sys; from relay.cli import relay; relay.get_command(None, 'run');"
        "from relay.destinations.catalog import default_config; default_config();"
        "print(*sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(ran.stdout.split())
    assert "relay.daemon.run" in loaded
    assert not loaded & NOT_IMPORTED


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
