"""relay in a container of a private engine, named ``relay`` and made of the image."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.support.daemon import write_config
from tests.support.docker import PrivateEngine
from tests.support.image import IMAGE, USER

TIMEOUT_S = 20.0

CONFINED = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    f"--user={USER}:{USER}",
    "--network=host",  # to reach the receiver: the engines of the tests have no bridge
)
FREQUENT_HEALTH_CHECK = ("--health-interval=500ms", "--health-timeout=2s", "--health-retries=1")
"""Health checks so frequent that a test can wait for them."""

PYTHON = ("/opt/relay/bin/python3", "-I", "-c")


def write_console_config(folder: Path) -> Path:
    """Write a configuration that prints every event; relay's user can read it."""
    to = {"out": {"type": "console"}}
    path = write_config(folder, destinations=to, routes=[{"name": "all", "to": "out"}])
    path.chmod(0o644)
    return path


def mount_options(source: Path, target: str) -> list[str]:
    """Return the options that mount a file or a folder, to be read only."""
    return [f"--mount=type=bind,readonly,source={source},target={target}"]


def start_relay(engine: PrivateEngine, *options: str) -> None:
    """Start relay with these options of ``docker run``."""
    engine.docker("run", "--detach", "--name=relay", *options, IMAGE)


def run_python(engine: PrivateEngine, program: str) -> str:
    """Run a program by the image's Python, as root; return its output."""
    options = ["--rm", "--network=none", f"--entrypoint={PYTHON[0]}"]
    return engine.docker("run", *options, IMAGE, *PYTHON[1:], program)


def read_health(engine: PrivateEngine) -> str:
    """Return what the health check found: ``starting``, ``healthy`` or ``unhealthy``."""
    found: str = engine.inspect("relay")["State"]["Health"]["Status"]
    return found


def wait_for_log(engine: PrivateEngine, message: str) -> None:
    """Wait until the log contains this text."""
    wait_until(lambda: message in engine.logs("relay"), engine)


def wait_until(holds: Callable[[], bool], engine: PrivateEngine) -> None:
    """Wait until something holds; raise `AssertionError` with the log after `TIMEOUT_S`."""
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {TIMEOUT_S} s; its log:\n{engine.logs('relay')}")
        time.sleep(0.1)
