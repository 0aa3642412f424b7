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

_LIST_FILES = """
import os, stat
for folder, _, names in os.walk("/"):
    if folder == "/" or folder.startswith(("/proc", "/sys", "/dev")):
        continue
    for path in (os.path.join(folder, name) for name in names):
        mode = os.lstat(path).st_mode
        print(path)
        if stat.S_ISREG(mode) and mode & 0o111 and ".so" not in path and "/lib/python" not in path:
            print("program", os.path.basename(path))
        if mode & (stat.S_ISUID | stat.S_ISGID):
            print("set-id", path)
        if not mode & 0o004 and path.startswith("/opt"):
            print("unreadable", path)
"""
_LOAD_ALL = """
import ctypes, pathlib, ssl, sysconfig, zoneinfo
for folder in ("/opt/relay", sysconfig.get_path("stdlib")):
    for path in pathlib.Path(folder).rglob("*.so"):
        ctypes.CDLL(str(path))
print(zoneinfo.ZoneInfo("Europe/Berlin") is not None)
print(len(ssl.create_default_context().get_ca_certs()) > 50)
"""


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


def list_files(engine: PrivateEngine) -> list[str]:
    """Return the paths in the image, and a line for each file that is a program, that sets its
    user or group, or that not everybody can read."""
    return _run_python(engine, _LIST_FILES).splitlines()


def load_all(engine: PrivateEngine) -> str:
    """Load all extension modules; return whether time zones and certificates are there."""
    return _run_python(engine, _LOAD_ALL)


def _run_python(engine: PrivateEngine, program: str) -> str:
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
