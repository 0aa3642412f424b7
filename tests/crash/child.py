"""The fork server's process: it has relay loaded, and forks a child for each lifetime of relay.

`tests.crash.forkserver.ForkServer` starts it and talks to it. It reads lines from its standard
input: an `Order` starts a lifetime, `STOP` and `KILL` end it, and the end of the input ends this
process. It writes `READY` when relay is loaded, and for each lifetime one line: its exit code.
"""

import gc
import os
import select
import signal
import sys
import traceback
from pathlib import Path

import click
import msgspec
import uvloop  # noqa: F401 - relay imports it when it starts

import relay.admin.api
import relay.delivery.console
import relay.delivery.http.sender  # noqa: F401 - likewise
from relay.cli import main as run_command_line
from relay.cli import relay as command_line
from relay.destinations.catalog import parse_config
from relay.incidents import destination
from relay.ingest.docker import reconciler
from relay.store import records
from tests.crash.points import BY_NAME, arm

READY = b"ready\n"
EXAMPLE = """
destinations:
  hook: {type: http, url: "http://127.0.0.1:1/", headers: {Name: "{{ event.name }}"}}
  terminal: {type: console}
routes: [{name: all, match: {name: "*"}, to: [hook, terminal]}]
"""
"""A configuration with the types of destinations that lifetimes have."""
STOP = b"stop"
KILL = b"kill"

SHORTENED_WAITS = (
    (reconciler, "EVENT_GRACE_S", 0.3),
    (records, "HOLD_NS", 1_000_000_000),
    (destination, "BUDGET_INTERVAL_NS", 1_000_000),
)
"""Constants to replace (module, name, value): relay's own waits, one second, three, and a minute
between messages about incidents, would delay every lifetime."""


class Order(msgspec.Struct, frozen=True):
    """One lifetime of relay."""

    config: str
    """The configuration's path. Its folder is this relay's home and working directory."""
    lifetime: int
    """Its number, which the configuration refers to as ``${LIFETIME}``."""
    point: str | None = None
    """The point at which it is killed; None if it is not killed."""
    hit: int = 1
    """It is killed when it reaches the point for this time."""


def main() -> None:
    """Serve orders until the input ends."""
    _load_relay()
    gc.freeze()  # loaded code stays in memory pages that the children share
    os.write(sys.stdout.fileno(), READY)
    for line in iter(_read_line, b""):
        if line not in (STOP, KILL):  # a signal that comes after its child has ended
            _run_child(msgspec.json.decode(line, type=Order))


def _load_relay() -> None:
    """Import and build all that a lifetime needs and relay leaves until then."""
    command_line.get_command(click.Context(command_line), "run")
    parse_config(EXAMPLE, file="example", environ={}, folder=Path())


def _run_child(order: Order) -> None:
    child = os.fork()
    if child == 0:
        _run_relay(order)
    _wait(child)
    _, status = os.waitpid(child, 0)
    os.write(sys.stdout.fileno(), b"%d\n" % os.waitstatus_to_exitcode(status))


def _wait(child: int) -> None:
    """Wait until the child has ended, and pass requested signals to it."""
    ended = os.pidfd_open(child)
    try:
        while ended not in (ready := select.select([ended, sys.stdin.fileno()], [], [])[0]):
            assert ready
            line = _read_line()
            os.kill(child, signal.SIGTERM if line == STOP else signal.SIGKILL)
            if not line:
                return
    finally:
        os.close(ended)


def _read_line() -> bytes:
    """Return the next line; empty at the end of the input.

    It reads no byte beyond the line: `select` does not see what is buffered in this process.
    """
    line = b""
    while (byte := os.read(sys.stdin.fileno(), 1)) not in (b"", b"\n"):
        line += byte
    return line


def _run_relay(order: Order) -> None:
    """Run relay in this process; never returns."""
    code = 70
    try:
        _set_up(Path(order.config).parent, order.lifetime)
        for module, name, value in SHORTENED_WAITS:
            setattr(module, name, value)
        if order.point is not None:
            arm(BY_NAME[order.point], order.hit)
        sys.argv = ["relay", "run", "--config", order.config]
        run_command_line()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _set_up(folder: Path, lifetime: int) -> None:
    """Use a clean environment, no input or output, and a log file."""
    os.environ.clear()
    os.environ |= {"HOME": str(folder), "LIFETIME": str(lifetime)}
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, file in enumerate((nothing, nothing, log)):
        os.dup2(file, number)


if __name__ == "__main__":
    main()
