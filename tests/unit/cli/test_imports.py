"""What the command line imports, and what it does not."""

import subprocess
import sys
from pathlib import Path

import pytest

HELP = """
import sys
from relay.cli import main
try:
    main()
except SystemExit:
    print(*sys.modules)
"""
"""Imports a command, and prints its help."""

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
    *("relay.destinations.email", "aiosmtplib"),
    *("relay.destinations.apprise", "apprise", "requests"),
    *("jinja2", "relay.config.templates.environment"),  # templates
    *("asyncssh", "cryptography", "aiodocker.ssh"),  # engines behind ssh://
    *("nats", "nacl", "relay.nats", "relay.config.nats_keys"),  # type nats
    *("aiohttp.web", "aiohttp.web_app", "relay.admin.api", "relay.admin.http"),
    *("prometheus_client", "relay.admin.metrics"),
    "re2",  # regular expressions
    "difflib",
}


@pytest.mark.parametrize("name", ["rich", "jinja2", "prometheus_client", "aiohttp.web"])
def test_relay_run_does_not_import(name: str) -> None:
    """What a start does not need costs neither time nor memory, even where it is installed."""
    arguments = [sys.executable, "-c", HELP, "run", "--help"]
    ran = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    imported = ran.stdout.split()
    assert "relay.daemon.run" in imported
    assert name not in imported


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
