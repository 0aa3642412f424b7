"""Power cuts, simulated: ``python -m tools.power_cut [ROUNDS] [--seed SEED]`` (as root).

The store lies on a disk of its own, an ext4 file system on a loop device. relay delivers under load
to a receiver that refuses some attempts; then the power fails. The file system is shut down as it
is (``FS_IOC_SHUTDOWN`` without flushing its journal): from then on nothing reaches the disk, and
whatever was written but neither synced nor written back by the kernel is gone. In half of the
rounds the kernel has written back random parts of the files a moment before, without syncing them.
relay is killed, the disk is mounted again, and relay starts on what is there. The engine has
forgotten all events that had to be in the store because they, or later ones of their container, had
reached the receiver. So these can come only from the store. The disk's own cache is not simulated:
what was handed to the disk stays on it.

Prints a line of JSON for each round, and a summary. The exit code is 1 if anything was lost,
arrived under two ids, out of order within a container, or twice although no power cut was in
between; and 2 if there can be no such disk here.
"""

import argparse
import asyncio
import ctypes
import fcntl
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import ChangeSignal
from tests.support.daemon import run_relay, write_config
from tests.support.loopback import on_loopback

ROUNDS = 50
CONTAINERS = 40
DISK_BYTES = 64 * 2**20
REFUSED = 0.3
"""The part of the first attempts that the receiver answers with 500."""
MAX_AHEAD = 150
"""At most this many events are sent that may not be committed yet; the engine remembers 256."""
MAX_ARRIVALS = 400
"""The power fails after at most this many arrivals."""
STALL_S = 60.0
"""relay is stuck if nothing is accepted within this time, its start included."""
START_S = 1.2
"""When the power fails during a start, it does so within this time."""

FS_IOC_SHUTDOWN = 0x8004587D
"""``_IOR('X', 125, __u32)``; linux, ``fs/ext4/ext4.h``."""
NO_LOG_FLUSH = 2
"""``EXT4_GOING_FLAGS_NOLOGFLUSH``, in the same file."""
SYNC_FILE_RANGE_WRITE = 2
"""Starts writing dirty pages (``sync_file_range(2)``), and neither waits nor syncs."""

_libc = ctypes.CDLL(None, use_errno=True)


class DiskUnavailable(Exception):
    """This machine has no loop devices, or this user may not mount them."""


class Disk:
    """A file system whose power can fail."""

    def __init__(self, image: Path, mount_point: Path) -> None:
        self._image = image
        self.path = mount_point

    @contextmanager
    def mounted(self) -> Iterator[None]:
        """Make the file system, and mount it as long as the context lasts."""
        if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
            raise DiskUnavailable("it takes root, and mkfs.ext4 (e2fsprogs)")
        with self._image.open("wb") as file:
            file.truncate(DISK_BYTES)
        self.path.mkdir()
        try:
            _run("mkfs.ext4", "-q", "-F", str(self._image))
            self._mount()
        except (OSError, subprocess.CalledProcessError) as error:
            raise DiskUnavailable(f"no loop device can be mounted: {error}") from error
        try:
            yield
        finally:
            _run("umount", str(self.path))

    def write_back_some(self, rng: random.Random) -> None:
        """Let the kernel write random parts of the files to the disk, without syncing them."""
        for path in filter(Path.is_file, self.path.iterdir()):
            size = path.stat().st_size
            file = os.open(path, os.O_RDONLY)
            try:
                for _ in range(4):
                    first, count = rng.randint(0, size), rng.randint(0, size)
                    place = ctypes.c_int64(first), ctypes.c_int64(count)
                    _libc.sync_file_range(file, *place, SYNC_FILE_RANGE_WRITE)
            finally:
                os.close(file)

    def cut_power(self) -> None:
        """Let nothing reach the disk from now on."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, FS_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def restore_power(self) -> None:
        """Mount what is on the disk. No process may use it.

        It is a copy of the disk that is mounted: a process with mount points of its own, such as a
        container that was started meanwhile, may hold the file system that was shut down.
        """
        _run("umount", str(self.path))
        copy = self._image.with_suffix(".copy")
        _run("cp", "--sparse=always", str(self._image), str(copy))
        copy.replace(self._image)
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-t", "ext4", "-o", "loop", str(self._image), str(self.path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@dataclass
class Arrivals:
    """What arrived at the receiver. Events are numbered from 0 on."""

    ids: defaultdict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The notification ids under which each event arrived."""
    accepted: Counter[int] = field(default_factory=Counter)
    """How often each event was accepted."""
    last: dict[int, int] = field(default_factory=dict)
    """The event of each container that was accepted last since relay started."""
    accepted_since_start: set[int] = field(default_factory=set)
    arrived: dict[int, int] = field(default_factory=dict)
    """The last event of each container that arrived, accepted or not: it and all before it of this
    container were committed."""
    repeated: int = 0
    """How many events were accepted again since relay started."""
    doubled: int = 0
    """How often an event was accepted twice without a power cut in between."""
    out_of_order: int = 0

    def start(self) -> None:
        """relay starts: what was accepted before may come again, in order."""
        self.last.clear()
        self.accepted_since_start.clear()
        self.repeated = 0

    def record(self, number: int, id_: str, *, is_accepted: bool) -> None:
        """Record that an event arrived."""
        self.ids[number].add(id_)
        container = number % CONTAINERS
        self.arrived[container] = max(self.arrived.get(container, -1), number)
        self.out_of_order += number < self.last.get(container, -1)
        if not is_accepted:
            return
        self.last[container] = number
        if number in self.accepted_since_start:
            self.doubled += 1
        elif self.accepted[number]:
            self.repeated += 1
        self.accepted_since_start.add(number)
        self.accepted[number] += 1

    def lost(self, sent: int) -> int:
        """Return how many of the events that were sent were never accepted."""
        return sent - len(self.accepted)

    def committed(self) -> int:
        """Return so many events, counted from the first, that were all committed.

        Those of another container may be: relay lets them pass one about which it asks the engine.
        """
        # the first event of each container that may not be committed
        return min(self.arrived.get(it, it - CONTAINERS) + CONTAINERS for it in range(CONTAINERS))

    def waiting(self) -> int:
        """Return how many events can come only from the store."""
        committed = self.committed()
        return committed - sum(number < committed for number in self.accepted)


class Receiver:
    """Accepts or refuses events; without power it does nothing."""

    def __init__(self, seed: int, arrivals: Arrivals, changes: ChangeSignal) -> None:
        self.has_power = False
        self._seed = seed
        self._arrivals = arrivals
        self._changes = changes

    def application(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application()
        app.router.add_post("/hook", self._receive)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        document = await request.json()
        (event,) = document["events"]
        number = int(event["actor"]["attributes"]["number"])
        if not self.has_power:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        is_first = not self._arrivals.ids[number]
        is_refused = is_first and random.Random(f"{self._seed} {number}").random() < REFUSED
        self._arrivals.record(number, document["id"], is_accepted=not is_refused)
        self._changes.notify()
        return web.Response(status=500 if is_refused else 200)


class PowerCuts:
    """Runs relay on the disk, again and again."""

    def __init__(self, folder: Path, disk: Disk, seed: int) -> None:
        self.arrivals = Arrivals()
        self.sent = 0
        self._changes = ChangeSignal()
        self._disk = disk
        self._engine = ScriptedEngine(folder / "engine.sock")
        self._folder = folder
        self._receiver = Receiver(seed, self.arrivals, self._changes)
        self._rng = random.Random(seed)
        self._times_ns: list[int] = []
        """The time of each event, by its number."""

    async def run(self, rounds: int) -> list[dict[str, object]]:
        """Cut the power this often, then deliver the rest. Returns the figures of each run."""
        found: list[dict[str, object]] = []
        async with on_loopback(self._receiver.application()) as url, self._engine.serve():
            config = self._write_config(f"{url}/hook")
            for number in range(1, rounds + 1):
                found.append({"round": number, **await self._run_until_cut(config)})
            found.append({"round": "the last", **await self._run_to_end(config)})
        return found

    async def _run_until_cut(self, config: Path) -> dict[str, object]:
        in_start = self._rng.random() < 0.25
        is_written_back = self._rng.random() < 0.5
        self._switch_on()
        async with run_relay(config) as relay:
            load = asyncio.create_task(self._send_events(), name="load")
            if in_start:
                await asyncio.sleep(self._rng.uniform(0, START_S))
            else:
                count = self._rng.randint(1, MAX_ARRIVALS)
                await self._wait_for_accepted(count)
            self._receiver.has_power = False
            if is_written_back:
                self._disk.write_back_some(self._rng)
            self._disk.cut_power()
            relay.kill()
            await relay.wait()
            load.cancel()
            await asyncio.wait([load])
        self._disk.restore_power()
        if committed := self.arrivals.committed():
            self._engine.forget(self._times_ns[committed - 1])
        return {
            "cut": "in the start" if in_start else "under load",
            "written back": is_written_back,
            **self._figures(),
            "only in the store": self.arrivals.waiting(),
        }

    async def _run_to_end(self, config: Path) -> dict[str, object]:
        self._switch_on()
        async with run_relay(config):
            with suppress(TimeoutError):
                while self.arrivals.lost(self.sent):
                    await self._wait_for_accepted(len(self.arrivals.accepted_since_start) + 1)
        return self._figures()

    def _switch_on(self) -> None:
        self.arrivals.start()
        self._receiver.has_power = True

    async def _wait_for_accepted(self, count: int) -> None:
        """Raises TimeoutError if nothing is accepted for `STALL_S`."""
        accepted = self.arrivals.accepted_since_start
        while (known := len(accepted)) < count:
            await self._changes.wait_for(lambda: len(accepted) > known, STALL_S)

    def _figures(self) -> dict[str, object]:
        return {
            "accepted": len(self.arrivals.accepted_since_start),
            "of these again": self.arrivals.repeated,
        }

    async def _send_events(self) -> None:
        """Let containers die in bursts, at most `MAX_AHEAD` events ahead of what was committed."""
        while True:
            room = MAX_AHEAD + self.arrivals.committed() - self.sent
            for _ in range(min(room, self._rng.randint(1, 50))):
                attributes = {"exitCode": "3", "number": str(self.sent)}
                name = f"web-{self.sent % CONTAINERS}"
                self._engine.emit(name, "die", **attributes)
                self._times_ns.append(self._engine.last_event_ns())
                self.sent += 1
            await asyncio.sleep(self._rng.uniform(0, 0.02))

    def _write_config(self, url: str) -> Path:
        return write_config(
            self._folder,
            engines={"here": {"url": f"unix://{self._engine.socket}", "start_from": "oldest"}},
            store={"path": str(self._disk.path / "relay.db"), "max_size": "32MiB"},
            reconcile={"every": "0s", "on_reconnect": False},
            destinations={
                "hook": {
                    "type": "http",
                    "url": url,
                    "retry": {"initial": "50ms", "max": "200ms"},
                }
            },
            routes=[{"name": "all", "match": {"type": "container"}, "to": "hook"}],
        )


def is_clean(summary: dict[str, int]) -> bool:
    """Return whether all promises were kept."""
    return not any(summary[fault] for fault in ("lost", "out of order", "doubled", "under two ids"))


async def measure(
    folder: Path, rounds: int, seed: int
) -> tuple[list[dict[str, object]], dict[str, int]]:
    """Return the figures of each round, and a summary. Raises `DiskUnavailable`."""
    disk = Disk(folder / "disk.img", folder / "disk")
    with disk.mounted():
        cuts = PowerCuts(folder, disk, seed)
        found = await cuts.run(rounds)
    arrivals = cuts.arrivals
    repeated = [int(str(each["of these again"])) for each in found]
    return found, {
        "seed": seed,
        "power cuts": rounds,
        "events": cuts.sent,
        "lost": arrivals.lost(cuts.sent),
        "out of order": arrivals.out_of_order,
        "doubled": arrivals.doubled,
        "under two ids": sum(len(ids) > 1 for ids in arrivals.ids.values()),
        "accepted again after a power cut": sum(repeated),
        "most of them after one": max(repeated),
    }


def main() -> int:
    """Run, print the figures, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=ROUNDS)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        try:
            found, summary = asyncio.run(measure(Path(folder), arguments.rounds, arguments.seed))
        except DiskUnavailable as error:
            print(f"power_cut: nothing was tested: {error}", file=sys.stderr)
            return 2
    for each in [*found, summary]:
        print(json.dumps(each))
    return 0 if is_clean(summary) else 1


if __name__ == "__main__":
    sys.exit(main())
