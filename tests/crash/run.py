"""One run: relay is killed and started again until everything has arrived."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import ChangeSignal
from tests.crash.child import Order
from tests.crash.forkserver import ForkServer
from tests.crash.plan import EXIT_CODE, INCLUDE_LABEL, ContainerEvent, Lifetime, Plan
from tests.crash.receiver import BATCH_SIZE, BATCHED, DESTINATIONS, HOOKS, INCLUDE_HOOK, Receiver
from tests.crash.verdict import (
    CONCURRENCY,
    INCLUDED_FIELD,
    EventKey,
    Verdict,
    check_run,
    count_expected,
)
from tests.support.daemon import write_config

LOG_LINES = 30
"""How much of relay's log is shown when something is wrong."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one run came to."""

    plan: Plan
    kills: Counter[str]
    """How often relay was killed, by point."""
    verdict: Verdict
    faults: tuple[str, ...]
    """Whatever is wrong, in words."""
    log: str
    """The end of relay's log, if something is wrong."""


async def run_plan(plan: Plan, fork_server: ForkServer, folder: Path) -> RunResult:
    """Do what is planned, in an empty folder."""
    bell = ChangeSignal()
    engine = ScriptedEngine(folder / "engine.sock")
    engine.changes = bell
    receiver = Receiver(str(plan), plan.failure_share, bell)
    async with engine.serve(), receiver.serving() as url:
        config = write_config(folder, **_make_config(url, engine.socket))
        stage = _Run(plan, fork_server, config, engine, receiver, bell)
        for number, life in enumerate(plan.lifetimes):
            await stage.run_lifetime(number, life)
    verdict = check_run(stage.happened, receiver.arrivals, stage.kills.total())
    faults = (*stage.faults, *verdict.faults)
    log = (folder / "log").read_text(errors="replace").splitlines()[-LOG_LINES:] if faults else []
    return RunResult(plan, stage.kills, verdict, faults, "\n".join(log))


def _make_config(url: str, socket: Path) -> dict[str, Any]:
    """A configuration in which all of an engine's containers go to two hooks, to one of them in
    batches, and gaps too."""
    retry = {"initial": "50ms", "max": "100ms"}
    hooks = {
        name: {
            "type": "http",
            "url": f"{url}/{name}",
            "concurrency": CONCURRENCY,
            "headers": {"Life": "${LIFE}"},
            "retry": retry,
        }
        for name in HOOKS
    }
    hooks[BATCHED] |= {
        "batch": {"max": BATCH_SIZE, "wait": "5ms"},
        "concurrency": CONCURRENCY // BATCH_SIZE,
    }
    everywhere = [*DESTINATIONS, "terminal"]
    more = {"label": INCLUDE_LABEL}
    return {
        "engines": {"here": {"url": f"unix://{socket}", "start_from": "oldest"}},
        "store": {"path": "relay.db"},
        "destinations": {**hooks, "terminal": {"type": "console"}},
        "routes": [
            {"name": "containers", "match": {"type": "container"}, "to": everywhere},
            {
                "name": "more",
                "match": more,
                "include": {"inspect": [INCLUDED_FIELD]},
                "to": INCLUDE_HOOK,
            },
            {"name": "gaps", "match": {"type": "relay", "action": "gap"}, "to": [*DESTINATIONS]},
        ],
    }


class _Run:
    """Where a plan is carried out."""

    def __init__(
        self,
        plan: Plan,
        zygote: ForkServer,
        config: Path,
        engine: ScriptedEngine,
        receiver: Receiver,
        bell: ChangeSignal,
    ) -> None:
        self._plan = plan
        self._fork_server = zygote
        self._config = config
        self._engine = engine
        self._receiver = receiver
        self._bell = bell
        self.happened: dict[EventKey, ContainerEvent] = {}
        self.kills: Counter[str] = Counter()
        self.faults: list[str] = []

    async def run_lifetime(self, number: int, life: Lifetime) -> None:
        """One life of relay, to its end: by its point, or by SIGTERM when all has arrived."""
        for wave in life.before:
            self._apply(wave)
        point = life.point.name if life.point else None
        order = Order(str(self._config), number, point, life.hit)
        streams = len(self._engine.streams)
        ended = asyncio.ensure_future(self._fork_server.run(order))
        ended.add_done_callback(lambda _: self._bell.notify())
        for wave in life.during:
            self._apply(wave)
            await self._wait_until(ended, lambda: self._arrived(self._plan.arrived_share))
        await self._wait_until(ended, lambda: len(self._engine.streams) > streams)
        await self._wait_until(ended, lambda: self._arrived(1.0))
        asked = not ended.done()
        if asked:
            self._fork_server.stop()
            await self._wait_until(ended, lambda: False)
        if not ended.done():
            self._fork_server.kill()
        self._record_exit(await ended, point, asked)

    def _apply(self, wave: Sequence[ContainerEvent]) -> None:
        for happening in wave:
            happened_ns = (
                self._apply_forgotten(happening) if happening.forgotten else self._emit(happening)
            )
            self.happened[happened_ns, happening.action, happening.container] = happening

    def _emit(self, happening: ContainerEvent) -> int:
        """Have it happen, and whoever listens hear of it; when it did."""
        name, action = happening.container, happening.action
        if action == "start":
            self._engine.run(name, happening.labels)
        elif action == "die":
            self._engine.die(name, exit_code=EXIT_CODE)
        facts = {"exitCode": str(EXIT_CODE)} if action == "die" else {}
        line = self._engine.record(name, action=action, attributes=facts)
        if action == "die":  # heard or inferred, it is the same
            self._engine.containers[name].finished_ns = self._engine.last_event_ns()
        if action == "destroy":
            del self._engine.containers[name]
        self._engine.send(line)
        return self._engine.last_event_ns()

    def _apply_forgotten(self, death: ContainerEvent) -> int:
        """Have it happen to a container, and the engine know it only by its state; when it did."""
        dead = self._engine.die(death.container, exit_code=EXIT_CODE)
        self._engine.clear_history()
        assert dead.finished_ns is not None
        return dead.finished_ns

    def _arrived(self, share: float) -> bool:
        return all(
            self._receiver.count_accepted(hook, kind) >= share * count
            for (hook, kind), count in count_expected(self.happened.values()).items()
        )

    async def _wait_until(self, ended: asyncio.Future[int], holds: Callable[[], bool]) -> None:
        """Return once it holds or relay has ended; note it if that takes too long."""
        try:
            await self._bell.wait_for(lambda: ended.done() or holds())
        except TimeoutError:
            self.faults.append("relay hangs: it neither delivered nor ended")

    def _record_exit(self, code: int, point: str | None, asked: bool) -> None:
        """How a life ended."""
        if code == -signal.SIGKILL and point is not None:
            self.kills[point] += 1
        elif code != 0 or not asked:
            self.faults.append(f"relay ended with {code}, {'asked' if asked else 'unasked'}")
