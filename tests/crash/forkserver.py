"""Starts relay within milliseconds: `tests.crash.child` has it loaded, and forks."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from tests.crash.child import KILL, READY, STOP, Order

REPOSITORY = Path(__file__).parents[2]


class ForkServer:
    """A process that forks relay, seen from the test. It has one child at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders = process.stdin
        self._answers = process.stdout

    async def run(self, order: Order) -> int:
        """Run one lifetime of relay; return its exit code.

        If a signal killed it, that is minus the signal's number.
        """
        self._write(msgspec.json.encode(order))
        answer = await self._answers.readline()
        assert answer, "the fork server has ended"
        return int(answer)

    def stop(self) -> None:
        """Send SIGTERM to the child."""
        self._write(STOP)

    def kill(self) -> None:
        """Kill the child."""
        self._write(KILL)

    def _write(self, line: bytes) -> None:
        self._orders.write(line + b"\n")


@asynccontextmanager
async def fork_server() -> AsyncIterator[ForkServer]:
    """Start a fork server and wait until it has loaded relay; end it and its child afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.crash.child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == READY, "the fork server did not start"
        yield ForkServer(process)
    finally:
        process.stdin.close()
        await process.wait()
