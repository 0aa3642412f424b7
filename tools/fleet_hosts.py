"""Simulated hosts, each with a connection of its own: a helper process of `tools.fleet` and others.

A host publishes what the relay of a real host does: heartbeats, and the same messages, in order,
each again until the stream has it. It has no engine, and its queue is in memory.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from relay.core.event import (
    HEARTBEAT,
    RELAY_ENGINE,
    Actor,
    Cause,
    Event,
    make_event_id,
    make_self_event,
)
from relay.nats.connection import NatsConnection
from relay.nats.message import encode_event, message_headers
from relay.nats.publisher import Publisher, PublishError
from relay.nats.subjects import event_subject
from tests.support.fleet import quiet_logs
from tests.support.nats_keys import client_keys
from tools.bench.helper import Command, serve_commands

MIN_WAIT_S, MAX_WAIT_S = 0.2, 2.0
"""The bounds of the wait before an event is published again."""
TICK_S = 0.02
CONTAINER = "web-1"
"""The one container of each host: on all hosts it has the same name, and the same id."""
LABELS = {f"com.example.label-{number}": "x" * 60 for number in range(10)}


def death(host: str, number: int) -> Event:
    """Return an event about the container of a host, of about 1.4 KB as a message."""
    attributes = {**LABELS, "image": "shop/web:1", "exitCode": "3", "number": str(number)}
    now_ns = time.time_ns()
    return Event(
        id=make_event_id("local", now_ns, "container", "die", "c0ffee" * 8, attributes),
        engine="local",
        host=host,
        type="container",
        action="die",
        detail=None,
        scope="local",
        time_ns=now_ns,
        actor=Actor("c0ffee" * 8, CONTAINER, "shop/web:1", attributes),
        cause=Cause.CRASHED,
        exit_code=3,
    )


class Host:
    """One host: its connection, and what it has to publish."""

    def __init__(self, name: str, urls: Sequence[str], stream: str, heartbeat_s: float) -> None:
        """It sends a heartbeat every ``heartbeat_s``."""
        self.name = name
        self.made = 0
        """How many events happened."""
        self.acked = 0
        """How many of them the stream has."""
        self.duplicates = 0
        """How often the stream had one already."""
        self.opened_s = 0.0
        """When the connection was opened last, in the time of all processes."""
        self.connection = NatsConnection(name, client_keys(*urls, name=name))
        self.connection.on_open(self._note_open)
        self._publisher = Publisher(self.connection, stream)
        self._queue: deque[Event] = deque()
        self._is_queued = asyncio.Event()
        self._heartbeat_s = heartbeat_s
        self._task: asyncio.Task[None] | None = None

    def happen(self) -> None:
        """Let an event happen."""
        self._queue.append(death(self.name, self.made))
        self.made += 1
        self._is_queued.set()

    async def start(self) -> None:
        """Begin to connect, and to publish whatever happens."""
        await self.connection.open()
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Die: publish nothing, and close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self.connection.close()

    @property
    def has_failed(self) -> bool:
        """Whether it publishes nothing any more although nobody stopped it."""
        return self._task is not None and self._task.done() and not self._task.cancelled()

    async def _run(self) -> None:
        # The phases of the hosts differ, as those of real ones.
        beats_s = time.monotonic() + random.uniform(0, self._heartbeat_s)
        while True:
            left_s = beats_s - time.monotonic()
            if left_s <= 0:
                beats_s += self._heartbeat_s
                await self._publish(self._heartbeat())
            elif self._queue:
                self.duplicates += await self._publish(self._queue[0])
                self.acked += 1
                self._queue.popleft()
            else:
                self._is_queued.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await self._is_queued.wait()

    async def _publish(self, event: Event) -> bool:
        """Publish until the stream has it; return whether the stream had it already."""
        subject = event_subject(self.name, event.type, event.action)
        while True:
            body = encode_event(self.name, event)
            headers = {
                **message_headers(self.name, event),
                "Relay-Sent-At": str(time.time_ns()),
            }
            try:
                ack = await self._publisher.publish(subject, body, headers)
            except PublishError:
                await asyncio.sleep(random.uniform(MIN_WAIT_S, MAX_WAIT_S))
                await self.connection.wait_open(MAX_WAIT_S)
            else:
                return ack.duplicate

    def _heartbeat(self) -> Event:
        return make_self_event(
            HEARTBEAT, engine=RELAY_ENGINE, host=self.name, time_ns=time.time_ns()
        )

    def _note_open(self) -> None:
        self.opened_s = time.monotonic()


class Hosts:
    """All hosts, and the commands of the process."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}
        self._load: asyncio.Task[None] | None = None

    async def connect(
        self, names: list[str], urls: list[str], stream: str, heartbeat_s: float
    ) -> float:
        """Connect all hosts; return how long that took, in seconds."""
        started_s = time.monotonic()
        self._hosts = {name: Host(name, urls, stream, heartbeat_s) for name in names}
        await self.revive(names)
        return time.monotonic() - started_s

    async def revive(self, names: list[str]) -> None:
        """Start these hosts, and wait until they are connected."""
        for name in names:
            await self._hosts[name].start()
        for name in names:
            connection = self._hosts[name].connection
            assert await connection.wait_open(60.0), connection.problem

    async def kill(self, names: list[str]) -> None:
        """Let these hosts die."""
        for name in names:
            await self._hosts[name].stop()

    async def start(self, rate: float, seed: int) -> None:
        """Let this many events a second happen, at random hosts, until `stop`."""
        self._load = asyncio.create_task(self._happen(rate, random.Random(seed)), name="load")

    async def stop(self) -> dict[str, int]:
        """Let nothing happen any more; return how many events each host made."""
        assert self._load is not None
        self._load.cancel()
        await asyncio.wait([self._load])
        return {host.name: host.made for host in self._hosts.values()}

    async def state(self) -> dict[str, object]:
        """Return how the hosts are."""
        hosts = self._hosts.values()
        failed = [host.name for host in hosts if host.has_failed]
        assert not failed, failed
        return {
            "open": sum(host.connection.is_connected for host in hosts),
            "made": sum(host.made for host in hosts),
            "acked": sum(host.acked for host in hosts),
            "duplicates": sum(host.duplicates for host in hosts),
            "last opened": max(host.opened_s for host in hosts),
        }

    async def _happen(self, rate: float, rng: random.Random) -> None:
        hosts, started_s, count = list(self._hosts.values()), time.monotonic(), 0
        while True:
            due = int((time.monotonic() - started_s) * rate)
            for host in rng.choices(hosts, k=due - count):
                host.happen()
            count = due
            await asyncio.sleep(TICK_S)


async def _serve() -> None:
    hosts = Hosts()
    commands: dict[str, Command] = {
        "connect": hosts.connect,
        "revive": hosts.revive,
        "kill": hosts.kill,
        "start": hosts.start,
        "stop": hosts.stop,
        "state": hosts.state,
    }
    await serve_commands(commands)


if __name__ == "__main__":
    quiet_logs()  # the standard output is for the answers
    asyncio.run(_serve())
