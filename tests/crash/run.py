"""One run: relay is killed and started again until everything has arrived."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import Bell
from tests.crash.child import Order
from tests.crash.forkserver import Zygote
from tests.crash.plan import EXIT_CODE, MORE, Happening, Life, Plan
from tests.crash.receiver import BATCHED, CURIOUS, DESTINATIONS, HOOKS, MAX, Receiver
from tests.crash.verdict import CONCURRENCY, FIELD, Fact, Verdict, due, judge
from tests.support.daemon import write_config

LOG_LINES = 30
"""How much of relay's log is shown when something is wrong."""


@dataclass(frozen=True, slots=True)
class Record:
    """What one run came to."""

    plan: Plan
    struck: Counter[str]
    """How often relay was killed, by point."""
    verdict: Verdict
    faults: tuple[str, ...]
    """Whatever is wrong, in words."""
    log: str
    """The end of relay's log, if something is wrong."""


async def play(plan: Plan, zygote: Zygote, folder: Path) -> Record:
    """Do what is planned, in an empty folder."""
    bell = Bell()
    engine = ScriptedEngine(folder / "engine.sock")
    engine.bell = bell
    receiver = Receiver(str(plan), plan.failing, bell)
    async with engine.serving(), receiver.serving() as url:
        config = write_config(folder, **_parts(url, engine.socket))
        stage = _Stage(plan, zygote, config, engine, receiver, bell)
        for number, life in enumerate(plan.lives):
            await stage.live(number, life)
    verdict = judge(stage.told, receiver.arrivals, stage.struck.total())
    faults = (*stage.faults, *verdict.faults)
    log = (folder / "log").read_text(errors="replace").splitlines()[-LOG_LINES:] if faults else []
    return Record(plan, stage.struck, verdict, faults, "\n".join(log))


def _parts(url: str, socket: Path) -> dict[str, Any]:
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
    hooks[BATCHED] |= {"batch": {"max": MAX, "wait": "5ms"}, "concurrency": CONCURRENCY // MAX}
    everywhere = [*DESTINATIONS, "terminal"]
    more = {"label": MORE}
    return {
        "engines": {"here": {"url": f"unix://{socket}", "start_from": "oldest"}},
        "store": {"path": "relay.db"},
        "destinations": {**hooks, "terminal": {"type": "console"}},
        "routes": [
            {"name": "containers", "match": {"type": "container"}, "to": everywhere},
            {"name": "more", "match": more, "include": {"inspect": [FIELD]}, "to": CURIOUS},
            {"name": "gaps", "match": {"type": "relay", "action": "gap"}, "to": [*DESTINATIONS]},
        ],
    }


class _Stage:
    """Where a plan is carried out."""

    def __init__(
        self,
        plan: Plan,
        zygote: Zygote,
        config: Path,
        engine: ScriptedEngine,
        receiver: Receiver,
        bell: Bell,
    ) -> None:
        self._plan = plan
        self._zygote = zygote
        self._config = config
        self._engine = engine
        self._receiver = receiver
        self._bell = bell
        self.told: dict[Fact, Happening] = {}
        self.struck: Counter[str] = Counter()
        self.faults: list[str] = []

    async def live(self, number: int, life: Life) -> None:
        """One life of relay, to its end: by its point, or by SIGTERM when all has arrived."""
        for wave in life.before:
            self._tell(wave)
        point = life.point.name if life.point else None
        order = Order(str(self._config), number, point, life.hit)
        streams = len(self._engine.streams)
        ended = asyncio.ensure_future(self._zygote.live(order))
        ended.add_done_callback(lambda _: self._bell.ring())
        for wave in life.during:
            self._tell(wave)
            await self._until(ended, lambda: self._arrived(self._plan.waiting))
        await self._until(ended, lambda: len(self._engine.streams) > streams)
        await self._until(ended, lambda: self._arrived(1.0))
        asked = not ended.done()
        if asked:
            self._zygote.stop()
            await self._until(ended, lambda: False)
        if not ended.done():
            self._zygote.kill()
        self._note(await ended, point, asked)

    def _tell(self, wave: Sequence[Happening]) -> None:
        for happening in wave:
            happened_ns = self._forgotten(happening) if happening.unheard else self._do(happening)
            self.told[happened_ns, happening.action, happening.container] = happening

    def _do(self, happening: Happening) -> int:
        """Have it happen, and whoever listens hear of it; when it did."""
        name, action = happening.container, happening.action
        if action == "start":
            self._engine.run(name, happening.labels)
        elif action == "die":
            self._engine.die(name, exit_code=EXIT_CODE)
        facts = {"exitCode": str(EXIT_CODE)} if action == "die" else {}
        line = self._engine.record(name, action=action, attributes=facts)
        if action == "die":  # heard or inferred, it is the same
            self._engine.containers[name].finished_ns = self._engine.last_ns()
        if action == "destroy":
            del self._engine.containers[name]
        self._engine.send(line)
        return self._engine.last_ns()

    def _forgotten(self, death: Happening) -> int:
        """Have it happen to a container, and the engine know it only by its state; when it did."""
        dead = self._engine.die(death.container, exit_code=EXIT_CODE)
        self._engine.forget()
        assert dead.finished_ns is not None
        return dead.finished_ns

    def _arrived(self, share: float) -> bool:
        return all(
            self._receiver.accepted(hook, kind) >= share * count
            for (hook, kind), count in due(self.told.values()).items()
        )

    async def _until(self, ended: asyncio.Future[int], holds: Callable[[], bool]) -> None:
        """Return once it holds or relay has ended; note it if that takes too long."""
        try:
            await self._bell.wait_for(lambda: ended.done() or holds())
        except TimeoutError:
            self.faults.append("relay hangs: it neither delivered nor ended")

    def _note(self, code: int, point: str | None, asked: bool) -> None:
        """How a life ended."""
        if code == -signal.SIGKILL and point is not None:
            self.struck[point] += 1
        elif code != 0 or not asked:
            self.faults.append(f"relay ended with {code}, {'asked' if asked else 'unasked'}")
