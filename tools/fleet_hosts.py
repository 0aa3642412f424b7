"""Simulated hosts, each with a connection of its own: a helper process of `tools.fleet`.

A host publishes what the relay of a real host does: the same messages, in order, each again until
the stream has it. It has no engine, and its queue is in memory.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence

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

HEARTBEAT_S = 30.0
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

    def __init__(self, name: str, urls: Sequence[str], stream: str) -> None:
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
        self._beat_s = 0.0

    def happen(self) -> None:
        """Let an event happen."""
        self._queue.append(death(self.name, self.made))
        self.made += 1
        self._is_queued.set()

    async def run(self) -> None:
        """Publish whatever happens until cancelled."""
        while True:
            if not self._queue:
                self._is_queued.clear()
                await self._is_queued.wait()
            event = self._queue[0]
            if time.monotonic() - self._beat_s > HEARTBEAT_S:
                self._beat_s = time.monotonic()
                await self._publish(self._heartbeat())
            self.duplicates += await self._publish(event)
            self.acked += 1
            self._queue.popleft()

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
        self._hosts: list[Host] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._load: asyncio.Task[None] | None = None

    async def connect(self, names: list[str], urls: list[str], stream: str) -> float:
        """Connect all hosts; return how long that took, in seconds."""
        started_s = time.monotonic()
        self._hosts = [Host(name, urls, stream) for name in names]
        for host in self._hosts:
            await host.connection.open()
        for host in self._hosts:
            assert await host.connection.wait_open(60.0), host.connection.problem
            self._tasks.add(asyncio.create_task(host.run(), name=host.name))
        return time.monotonic() - started_s

    async def start(self, rate: float, seed: int) -> None:
        """Let this many events a second happen, at random hosts, until `stop`."""
        self._load = asyncio.create_task(self._happen(rate, random.Random(seed)), name="load")

    async def stop(self) -> dict[str, int]:
        """Let nothing happen any more; return how many events each host made."""
        assert self._load is not None
        self._load.cancel()
        await asyncio.wait([self._load])
        return {host.name: host.made for host in self._hosts}

    async def state(self) -> dict[str, object]:
        """Return how the hosts are."""
        failed = [task.get_name() for task in self._tasks if task.done()]
        assert not failed, failed
        return {
            "open": sum(host.connection.is_connected for host in self._hosts),
            "made": sum(host.made for host in self._hosts),
            "acked": sum(host.acked for host in self._hosts),
            "duplicates": sum(host.duplicates for host in self._hosts),
            "last opened": max(host.opened_s for host in self._hosts),
        }

    async def _happen(self, rate: float, rng: random.Random) -> None:
        started_s, count = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - started_s) * rate)
            for host in rng.choices(self._hosts, k=due - count):
                host.happen()
            count = due
            await asyncio.sleep(TICK_S)


async def _serve() -> None:
    hosts = Hosts()
    commands: dict[str, Command] = {
        "connect": hosts.connect,
        "start": hosts.start,
        "stop": hosts.stop,
        "state": hosts.state,
    }
    await serve_commands(commands)


if __name__ == "__main__":
    quiet_logs()  # the standard output is for the answers
    asyncio.run(_serve())
