"""``relay check --connect`` with real engines."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.receiver import Receiver
from tests.support.sandboxed_engine import SandboxedEngine


def check(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run ``relay check`` for a configuration with this text."""
    file = folder / "config.yaml"
    file.write_text(text)
    command = [sys.executable, "-m", "relay", "check", *options, str(file)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def test_each_engine_is_reached(
    each_engine: tuple[str, SandboxedEngine], receiver: Receiver, relay_folder: Path
) -> None:
    """The engine says what it is; the receiver gets a connection and no request."""
    name, engine = each_engine
    text = (
        f"engines: {{here: {{url: '{engine.url}'}}}}\n"
        f"destinations: {{hook: {{type: http, url: '{receiver.url()}'}}}}\n"
        "routes: [{name: died, match: {action: die}, to: hook}]\n"
    )
    found = check(relay_folder, text, "--strict", "--connect")
    assert found.returncode == 0, found.stderr
    kind = name.partition("-")[0].title()
    assert f"\n  engine here: reached, {kind} with API v1." in found.stdout
    assert "\n  destination hook: reached (http://127.0.0.1:" in found.stdout
    assert receiver.received == ()


def test_an_engine_that_was_stopped(relay_folder: Path) -> None:
    """Without --connect its socket is a warning; with it, the exit code is 1."""
    text = (
        f"engines: {{here: {{url: 'unix://{relay_folder}/none.sock'}}}}\n"
        "destinations: {terminal: {type: console}}\n"
        "routes: [{name: died, match: {action: die}, to: terminal}]\n"
    )
    assert check(relay_folder, text).returncode == 0
    found = check(relay_folder, text, "--connect")
    assert found.returncode == 1
    assert "No such file or directory" in found.stdout
    assert found.stderr.endswith("relay: 1 of 1 cannot be reached or used\n")
