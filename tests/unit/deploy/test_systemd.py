"""The unit that is shipped."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[3] / "deploy" / "systemd" / "relay.service"


def assigned(key: str) -> list[str]:
    """What the unit assigns to a key, in order."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_it_is_ready_when_relay_says_so() -> None:
    """Also for a systemd that does not know notify-reload, and keeps to what stands before."""
    assert assigned("Type") == ["notify", "notify-reload"]


def test_it_is_reloaded_once() -> None:
    """By the command, which tells what came of it; the signal that systemd sends does nothing."""
    assert assigned("ExecReload") == ["/opt/relay/venv/bin/relay reload"]
    assert assigned("ReloadSignal") == ["SIGCONT"]


def test_a_file_is_not_needed() -> None:
    """All commands look for the configuration at the usual place, else among the variables."""
    commands = [*assigned("ExecStartPre"), *assigned("ExecStart"), *assigned("ExecReload")]
    assert [it.removeprefix("/opt/relay/venv/bin/relay ") for it in commands] == [
        *("check", "run", "reload")
    ]
    assert "RELAY_REQUIRE_CONFIG=1" in assigned("Environment")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_its_exposure() -> None:
    """No more than 1.5 by systemd's own measure."""
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=15", str(UNIT)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
