"""``relay schema``, shell completion, and which modules a command imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

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


RUN = """
import os, signal, sys
from relay.cli import main
from relay.daemon.supervisor import Supervisor
start_ingest = Supervisor.start_ingest
def start_and_stop(supervisor):
    start_ingest(supervisor)
    print(*sys.modules)
    os.kill(os.getpid(), signal.SIGTERM)
Supervisor.start_ingest = start_and_stop
sys.argv = ["relay", "run", "--config", sys.argv[1]]
main()
"""
"""Runs the daemon, and ends it when it has started."""

CONFIG = """
store: {path: relay.db}
engines: {here: {url: "unix:///nowhere/engine.sock"}}
destinations: {out: {type: http, url: "http://127.0.0.1:1/"}}
routes: [{name: all, to: out}]
"""

NOT_IMPORTED = {
    *("relay.cli.check", "relay.cli.connect", "relay.cli.demo", "relay.config.schema"),
    *("relay.dryrun", "relay.admin.client"),
    *("relay.destinations.slack", "relay.destinations.console"),  # types that are not configured
    *("jinja2", "relay.config.templates.environment"),  # templates
    *("asyncssh", "cryptography", "aiodocker.ssh"),  # engines behind ssh://
    *(
        "aiohttp.web",
        "aiohttp.web_app",
        "relay.admin.api",
        "relay.admin.http",
    ),
    *("prometheus_client", "relay.admin.metrics"),
    "difflib",
}


def test_run_imports_only_what_the_configuration_needs(tmp_path: Path) -> None:
    """A daemon that has started has imported nothing that only others need."""
    (tmp_path / "relay.yaml").write_text(CONFIG)
    ran = subprocess.run(
        [sys.executable, "-c", RUN, "relay.yaml"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    loaded = set(ran.stdout.split())
    assert {"relay.daemon.run", "relay.destinations.http"} < loaded
    assert not loaded & NOT_IMPORTED


def test_the_collector_works_after_a_command_is_imported() -> None:
    """It is paused during the import, and ignores the imported objects."""
    program = (
        "import gc; from relay.cli import relay; relay.get_command(None, 'run');"
        "print(gc.isenabled(), gc.get_freeze_count() > 0)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["True", "True"]


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
