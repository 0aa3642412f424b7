"""One run: relay is killed and started again until everything has arrived."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.incidents.rows import decode_rows
from relay.store.outbox import open_outbox
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import ChangeSignal
from tests.crash.child import Order
from tests.crash.forkserver import ForkServer
from tests.crash.incidents import find_count_faults, find_crashed, find_ended
from tests.crash.plan import EXIT_CODE, INCLUDE_LABEL, ContainerEvent, Lifetime, Plan, Waves
from tests.crash.points import ACCEPTANCE_POINTS, CREATION_POINTS, REFUSAL_POINTS
from tests.crash.receiver import (
    BATCH_SIZE,
    BATCHED,
    DESTINATIONS,
    HOOKS,
    INCIDENT_HOOK,
    INCLUDE_HOOK,
    Receiver,
)
from tests.crash.silences import (
    SILENCED_STORY,
    add_to_running,
    find_silence_faults,
    silence_before_start,
    wait_until_counted,
)
from tests.crash.verdict import (
    CONCURRENCY,
    INCLUDED_FIELD,
    EventKey,
    Verdict,
    check_run,
    count_expected,
)
from tests.support.daemon import write_config

HANG_S = 120.0
"""How long relay may take for what it does within a second. Nothing waits that long unless relay
hangs: on a machine whose processors and disk are busy with other things, it takes some 20 s."""

LOG_LINES = 30
"""How many lines of relay's log are shown if something is wrong."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of one run."""

    plan: Plan
    kills: Counter[str]
    """How often relay was killed, by point."""
    verdict: Verdict
    faults: tuple[str, ...]
    """Descriptions of everything that is wrong."""
    log: str
    """The end of relay's log, if something is wrong."""


async def run_plan(plan: Plan, fork_server: ForkServer, folder: Path) -> RunResult:
    """Carry out a plan in an empty folder."""
    changes = ChangeSignal()
    engine = ScriptedEngine(folder / "engine.sock")
    engine.changes = changes
    decides_first = plan.point in REFUSAL_POINTS | ACCEPTANCE_POINTS
    refuses_first = plan.point in REFUSAL_POINTS if decides_first else None
    receiver = Receiver(str(plan), plan.failure_share, changes, refuses_first=refuses_first)
    async with engine.serve(), receiver.serving() as url:
        config = write_config(folder, **_make_config(url, engine.socket))
        run = _Run(plan, fork_server, config, engine, receiver, changes)
        for number, lifetime in enumerate(plan.lifetimes):
            if number == run.silenced_lifetime:
                await silence_before_start(run.store)
            await run.run_lifetime(number, lifetime)
    if plan.lifetimes[0].hit == 1 and plan.point.name not in run.kills:
        run.faults.append(f"relay never reached {plan.point.name}")
    run.faults += await find_silence_faults(run.store, run.silences)
    async with open_outbox(run.store) as outbox:
        rows = decode_rows(await outbox.incident_rows())
    run.faults += find_count_faults(run.happened.values(), rows)
    verdict = check_run(run.happened, receiver.arrivals, run.kills.total())
    faults = (*run.faults, *verdict.faults)
    log = (folder / "log").read_text(errors="replace").splitlines()[-LOG_LINES:] if faults else []
    return RunResult(plan, run.kills, verdict, faults, "\n".join(log))


def _make_config(url: str, socket: Path) -> dict[str, Any]:
    """Return a configuration that sends all container events and gaps to two webhooks.

    One of them gets batches; a third one gets the events of some containers, with included content.
    A fourth one is notified of crashes as incidents.
    """
    retry = {"initial": "50ms", "max": "100ms"}
    hooks = {
        name: {
            "type": "http",
            "url": f"{url}/{name}",
            "concurrency": CONCURRENCY,
            "headers": {"Lifetime": "${LIFETIME}"},
            "retry": retry,
        }
        for name in (*HOOKS, INCIDENT_HOOK)
    }
    hooks[INCIDENT_HOOK] |= {
        "notify": "incidents",
        "group_wait": "20ms",
        "group_interval": "1s",
        "resolve_after": "1s",
    }
    hooks[BATCHED] |= {
        "batch": {"max": BATCH_SIZE, "wait": "5ms"},
        "concurrency": CONCURRENCY // BATCH_SIZE,
    }
    everywhere = [*DESTINATIONS, "terminal"]
    included = {"label": INCLUDE_LABEL}
    return {
        "engines": {"here": {"url": f"unix://{socket}", "start_from": "oldest"}},
        "store": {"path": "relay.db"},
        "destinations": {**hooks, "terminal": {"type": "console"}},
        "routes": [
            {"name": "containers", "match": {"type": "container"}, "to": everywhere},
            {
                "name": "more",
                "match": included,
                "include": {"inspect": [INCLUDED_FIELD]},
                "to": INCLUDE_HOOK,
            },
            {
                "name": "crashes",
                "match": {"type": "container", "action": "die", "cause": "crashed"},
                "include": {"inspect": [INCLUDED_FIELD]},
                "to": INCIDENT_HOOK,
            },
            {"name": "gaps", "match": {"type": "relay", "action": "gap"}, "to": [*DESTINATIONS]},
        ],
    }


class _Run:
    """A run under way."""

    def __init__(
        self,
        plan: Plan,
        fork_server: ForkServer,
        config: Path,
        engine: ScriptedEngine,
        receiver: Receiver,
        changes: ChangeSignal,
    ) -> None:
        self._plan = plan
        self._fork_server = fork_server
        self._config = config
        self._engine = engine
        self._receiver = receiver
        self._changes = changes
        self.happened: dict[EventKey, ContainerEvent] = {}
        self.kills: Counter[str] = Counter()
        self.faults: list[str] = []
        self.silences: list[int] = []
        """Those that relay has said to have added while it ran."""

    @property
    def store(self) -> Path:
        """The path of relay's store."""
        return self._config.parent / "relay.db"

    @property
    def silenced_lifetime(self) -> int:
        """The lifetime in which a silenced container crashes; relay itself creates the store if it
        is killed at that."""
        return 1 if self._plan.point in CREATION_POINTS else 0

    def _list_silenced(self, number: int) -> Waves:
        return [SILENCED_STORY] if number == self.silenced_lifetime else []

    async def run_lifetime(self, number: int, lifetime: Lifetime) -> None:
        """Run relay until it is killed at its point; stop it if everything arrives before that."""
        for wave in lifetime.before:
            self._apply(wave)
        point = lifetime.point.name if lifetime.point else None
        order = Order(str(self._config), number, point, lifetime.hit)
        ended = asyncio.ensure_future(self._fork_server.run(order))
        adding = asyncio.ensure_future(add_to_running(self.store, number))
        for each in (ended, adding):
            each.add_done_callback(lambda _: self._changes.notify())
        try:
            await self._wait_until_delivered(number, lifetime, ended, adding)
            was_stopped = not ended.done()
            if was_stopped:
                self._fork_server.stop()
                await self._wait_until(ended, lambda: False)
        except TimeoutError:
            self.faults.append("relay hangs: it neither delivered nor ended")
            self._fork_server.kill()
            await ended
        else:
            self._record_exit(await ended, point, was_stopped)
        if adding.done():
            self.silences.append(adding.result())
        else:
            adding.cancel()

    async def _wait_until_delivered(
        self,
        number: int,
        lifetime: Lifetime,
        ended: asyncio.Future[int],
        adding: asyncio.Future[int],
    ) -> None:
        """Let everything happen, and wait until relay has delivered it or has ended."""
        streams = len(self._engine.streams)
        for wave in [*self._list_silenced(number), *lifetime.during]:
            self._apply(wave)
            await self._wait_until(ended, lambda: self._arrived(self._plan.arrived_share))
        await self._wait_until(ended, lambda: len(self._engine.streams) > streams)
        await self._wait_until(ended, lambda: self._arrived(1.0))
        await self._wait_until(ended, adding.done)
        if lifetime is self._plan.lifetimes[-1]:
            await self._wait_until(ended, self._has_ends)
            async with asyncio.timeout(HANG_S):
                await wait_until_counted(self.store, ended.done)

    def _apply(self, wave: Sequence[ContainerEvent]) -> None:
        for event in wave:
            happened_ns = self._apply_forgotten(event) if event.forgotten else self._emit(event)
            self.happened[happened_ns, event.action, event.container] = event

    def _emit(self, event: ContainerEvent) -> int:
        """Make an event happen and send it to relay; return its time."""
        name, action = event.container, event.action
        if action == "start":
            self._engine.run(name, event.labels)
        elif action == "die":
            self._engine.die(name, exit_code=EXIT_CODE)
        attributes = {"exitCode": str(EXIT_CODE)} if action == "die" else {}
        line = self._engine.record(name, action=action, attributes=attributes)
        if action == "die":  # the same time whether the event is read or inferred
            self._engine.containers[name].finished_ns = self._engine.last_event_ns()
        if action == "destroy":
            del self._engine.containers[name]
        self._engine.send(line)
        return self._engine.last_event_ns()

    def _apply_forgotten(self, death: ContainerEvent) -> int:
        """Let a container die, and clear the engine's history; return the time of the death."""
        dead = self._engine.die(death.container, exit_code=EXIT_CODE)
        self._engine.clear_history()
        assert dead.finished_ns is not None
        return dead.finished_ns

    def _arrived(self, share: float) -> bool:
        crashed = find_crashed(self.happened.values())
        return len(self._receiver.opened) >= share * len(crashed) and all(
            self._receiver.count_accepted(hook, kind) >= share * count
            for (hook, kind), count in count_expected(self.happened.values()).items()
        )

    def _has_ends(self) -> bool:
        """Whether the end of every incident whose container was removed was reported."""
        return find_ended(self.happened.values()) <= self._receiver.ended

    async def _wait_until(self, ended: asyncio.Future[int], holds: Callable[[], bool]) -> None:
        """Wait until the condition holds or relay has ended. Raises TimeoutError if it hangs."""
        await self._changes.wait_for(lambda: ended.done() or holds(), HANG_S)

    def _record_exit(self, code: int, point: str | None, was_stopped: bool) -> None:
        """Record how a lifetime ended."""
        if code == -signal.SIGKILL and point is not None:
            self.kills[point] += 1
        elif code != 0 or not was_stopped:
            signalled = "after" if was_stopped else "without"
            self.faults.append(f"relay exited with {code} {signalled} SIGTERM")
