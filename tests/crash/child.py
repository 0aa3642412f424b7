"""A process that has relay loaded and forks a child for each life; see `ForkServer` for its other end.

It reads lines from its standard input: an `Order` begins a life, `STOP` and `KILL` end it, and the
end of the input ends everything. For each life it answers one line: how it ended.
"""

import gc
import os
import select
import signal
import sys
import traceback
from pathlib import Path

import msgspec

from relay.cli import main as relay
from relay.ingest.docker import reconciler
from relay.store import deliveries
from tests.crash.points import BY_NAME, arm

STOP = b"stop"
KILL = b"kill"


SHORTENED_WAITS = ((reconciler, "GRACE_S", 0.3), (deliveries, "HOLD_NS", 1_000_000_000))
"""Waits in place of relay's own, a second and three, which every life would wait for anew."""


class Order(msgspec.Struct, frozen=True):
    """One life of relay."""

    config: str
    """The configuration's path; its folder is all that this relay knows of the world."""
    lifetime: int
    """Its number, for the configuration to refer to as ``${LIFE}``."""
    point: str | None = None
    """Where it is killed; None for a life that is not."""
    hit: int = 1
    """How many times it gets there, the last included."""


def main() -> None:
    """Serve orders until there are no more."""
    gc.freeze()  # what is loaded stays in pages that are shared with the children
    for line in iter(_read_line, b""):
        if line not in (STOP, KILL):  # which came too late: it had ended by itself
            _run_child(msgspec.json.decode(line, type=Order))


def _run_child(order: Order) -> None:
    child = os.fork()
    if child == 0:
        _run_relay(order)
    _wait(child)
    _, status = os.waitpid(child, 0)
    os.write(sys.stdout.fileno(), b"%d\n" % os.waitstatus_to_exitcode(status))


def _wait(child: int) -> None:
    """Return when the child has ended; until then do to it what is asked for."""
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
    """The next line; empty at the end. Not one byte more is read, so that `select` tells."""
    line = b""
    while (byte := os.read(sys.stdin.fileno(), 1)) not in (b"", b"\n"):
        line += byte
    return line


def _run_relay(order: Order) -> None:
    """Be relay; never returns."""
    code = 70
    try:
        _set_up(Path(order.config).parent, order.lifetime)
        for module, name, value in SHORTENED_WAITS:
            setattr(module, name, value)
        if order.point is not None:
            arm(BY_NAME[order.point], order.hit)
        sys.argv = ["relay", "run", "--config", order.config]
        relay()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _set_up(folder: Path, lifetime: int) -> None:
    """Have nothing of the parent's, and a log."""
    os.environ.clear()
    os.environ |= {"HOME": str(folder), "LIFE": str(lifetime)}
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDWR)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, file in enumerate((nothing, nothing, log)):
        os.dup2(file, number)


if __name__ == "__main__":
    main()
