"""Ways for a container to end, and the cause and exit code that relay must report."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.support.sandboxed_engine import EAT_MEMORY, MEMORY_LIMITS, EngineError, SandboxedEngine

TIMEOUT_S = 30.0

_UNTIL_GO = "echo ready; while test ! -e /go; do sleep 0.05; done"
"""Prints ``ready`` when the traps are set, then waits for /go in short sleeps.

A shell runs its traps only between two commands.
"""

Death = tuple[str, int]
"""Cause and exit code."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way for a container to end. Afterwards the container is dead and is not restarted."""

    name: str
    run: Callable[[SandboxedEngine, str], None]
    """Called with the engine, and the name for the container."""
    deaths: tuple[Death, ...]
    """The deaths to report, the same on every engine."""
    ooms: int = 0
    """How many ``oom`` events to report."""


def _run_with_traps(
    engine: SandboxedEngine, name: str, traps: str, *options: str, **labels: str
) -> None:
    """Run a container with these traps, and wait until they are set."""
    engine.run("sh", "-c", f"{traps}; {_UNTIL_GO}", name=name, options=options, labels=labels)
    _wait_until(lambda: "ready" in engine.docker("logs", name))


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline, f"the condition does not hold after {TIMEOUT_S} s"
        time.sleep(0.05)


def _stop_obeyed(engine: SandboxedEngine, name: str) -> None:
    _run_with_traps(engine, name, "trap 'exit 0' TERM")
    engine.docker("stop", name)


def _stop_ignored(engine: SandboxedEngine, name: str) -> None:
    _run_with_traps(engine, name, "trap '' TERM")
    engine.docker("stop", "--time=1", name)


def _restart(engine: SandboxedEngine, name: str) -> None:
    _run_with_traps(engine, name, "trap 'exit 0' TERM")
    # With a timeout, because Podman has no default.
    engine.docker("restart", "--time=10", name)
    _wait_until(lambda: engine.docker("logs", name).count("ready") == 2)
    engine.docker("stop", name)


def _kill(engine: SandboxedEngine, name: str) -> None:
    _run_with_traps(engine, name, "trap 'exit 0' TERM")
    engine.docker("kill", name)
    engine.wait(name)


def _kill_term(engine: SandboxedEngine, name: str) -> None:
    _run_with_traps(engine, name, "trap 'exit 0' TERM")
    engine.docker("kill", "--signal=TERM", name)
    engine.wait(name)


def _hup_then_crash(engine: SandboxedEngine, name: str) -> None:
    engine.run("sh", "-c", f"trap 'echo reloaded' HUP; {_UNTIL_GO}; exit 5", name=name)
    _wait_until(lambda: "ready" in engine.docker("logs", name))
    engine.docker("kill", "--signal=HUP", name)
    _wait_until(lambda: "reloaded" in engine.docker("logs", name))
    with suppress(EngineError):  # the container may end before the command has returned
        engine.docker("exec", name, "touch", "/go")
    engine.wait(name)


def _thread_dump_then_crash(engine: SandboxedEngine, name: str) -> None:
    # One second more than a signal explains any death.
    command = f"trap 'echo dumped' QUIT; {_UNTIL_GO}; exit 1"
    engine.run("sh", "-c", command, name=name)
    _wait_until(lambda: "ready" in engine.docker("logs", name))
    engine.docker("kill", "--signal=QUIT", name)
    _wait_until(lambda: "dumped" in engine.docker("logs", name))
    time.sleep(11)
    with suppress(EngineError):  # the container may end before the command has returned
        engine.docker("exec", name, "touch", "/go")
    engine.wait(name)


def _child_out_of_memory(engine: SandboxedEngine, name: str) -> None:
    command = f"sh -c '{EAT_MEMORY}'; sleep 3; exit 1"
    engine.run("sh", "-c", command, name=name, options=MEMORY_LIMITS)
    engine.wait(name)


def _remove_by_force(engine: SandboxedEngine, name: str) -> None:
    # Podman sends SIGTERM first.
    _run_with_traps(engine, name, "trap '' TERM", "--stop-timeout=1")
    engine.docker("rm", "--force", name)


def _out_of_memory(engine: SandboxedEngine, name: str) -> None:
    engine.run_out_of_memory(name)


def _killed_from_the_host(engine: SandboxedEngine, name: str) -> None:
    engine.run("sleep", "60", name=name)
    engine.kill_process(name)
    engine.wait(name)


def _crash(engine: SandboxedEngine, name: str) -> None:
    engine.run("sh", "-c", "exit 3", name=name)
    engine.wait(name)


def _finish(engine: SandboxedEngine, name: str) -> None:
    engine.run("true", name=name)
    engine.wait(name)


def _crash_loop(engine: SandboxedEngine, name: str) -> None:
    engine.run("sh", "-c", "exit 4", name=name, options=["--restart=on-failure:2"])

    def over() -> bool:
        found = engine.inspect(name)
        status: str = found["State"]["Status"]
        return (status, found["RestartCount"]) == ("exited", 2)

    _wait_until(over)


def _own_stop_signal(engine: SandboxedEngine, name: str) -> None:
    _run_with_traps(engine, name, "trap 'exit 0' USR1", "--stop-signal=USR1")
    engine.docker("stop", name)


def _own_stop_signal_code(engine: SandboxedEngine, name: str) -> None:
    _run_with_traps(engine, name, "trap 'exit 3' USR1", "--stop-signal=USR1")
    engine.docker("stop", name)


def _label_exit_code(engine: SandboxedEngine, name: str) -> None:
    engine.run("sh", "-c", "exit 7", name=name, labels={"exitCode": "0"})
    engine.wait(name)


def _label_signal(engine: SandboxedEngine, name: str) -> None:
    _run_with_traps(engine, name, "trap 'exit 9' TERM", signal="1")
    engine.docker("stop", name)


SCENARIOS = (
    Scenario("stop, obeyed", _stop_obeyed, (("requested", 0),)),
    Scenario("stop, ignored", _stop_ignored, (("requested", 137),)),
    Scenario("restart, then stop", _restart, (("requested", 0), ("requested", 0))),
    Scenario("kill", _kill, (("requested", 137),)),
    Scenario("kill by TERM", _kill_term, (("requested", 0),)),
    Scenario("HUP, then a crash", _hup_then_crash, (("crashed", 5),)),
    Scenario("QUIT, then a crash", _thread_dump_then_crash, (("crashed", 1),)),
    Scenario("rm by force", _remove_by_force, (("requested", 137),)),
    Scenario("out of memory", _out_of_memory, (("oom", 137),), ooms=1),
    Scenario("a child's OOM, then a crash", _child_out_of_memory, (("crashed", 1),), ooms=1),
    Scenario("killed from the host", _killed_from_the_host, (("crashed", 137),)),
    Scenario("crash", _crash, (("crashed", 3),)),
    Scenario("finished", _finish, (("finished", 0),)),
    Scenario("crash loop", _crash_loop, (("crashed", 4),) * 3),
    Scenario("stop signal USR1", _own_stop_signal, (("requested", 0),)),
    Scenario("stop signal USR1, code 3", _own_stop_signal_code, (("requested", 3),)),
    Scenario("label exitCode", _label_exit_code, (("crashed", 7),)),
    Scenario("label signal", _label_signal, (("requested", 9),)),
)
