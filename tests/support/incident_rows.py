"""The rows of the acceptance table of incidents that are played on a real engine.

They have the names of the table in `tests.unit.incidents`, where all rows run on virtual time.
"""

import time
from dataclasses import replace
from functools import partial

from tests.support.incident_stage import DIED, Row, Scene
from tests.support.services import (
    ALWAYS,
    HEALTH_CHECK,
    OUT_OF_MEMORY_ONCE,
    STEADY,
    UNTIL_CURED,
    Services,
)


def _crash_once(scene: Scene) -> None:
    scene.services.run("web")
    scene.services.crash("web")


def _loop(scene: Scene, duration_s: float, restarts: int) -> float:
    """Let a service crash as often as it is started; return when it runs at last."""
    scene.services.run("web", UNTIL_CURED)
    scene.sleep_until(duration_s)
    scene.services.wait_for_restarts("web", restarts)
    scene.services.cure("web")
    return scene.services.wait_until_up("web")


def _stop_loop(scene: Scene, duration_s: float, restarts: int) -> float:
    """Stop a service while it waits for its next restart; return when."""
    scene.services.run("web", UNTIL_CURED)
    scene.sleep_until(duration_s)
    scene.services.wait_for_restarts("web", restarts)
    stopped_s = time.time()
    scene.services.engine.docker("stop", scene.services.name("web"))
    return stopped_s


def _crash_stack(scene: Scene, api_s: float, worker_s: float) -> None:
    """Let three services crash one after another."""
    for service in ("db", "api", "worker"):
        scene.services.run(service)
    scene.services.crash("db")
    first_s = time.monotonic()
    for service, offset_s in (("api", api_s), ("worker", worker_s)):
        time.sleep(max(0.0, first_s + offset_s - time.monotonic()))
        scene.services.crash(service)


def _run_out_of_memory(scene: Scene) -> None:
    limits = ("--memory=16m", "--memory-swap=16m")
    scene.services.run("web", OUT_OF_MEMORY_ONCE, [*ALWAYS, *limits])


def _heal(scene: Scene, first_s: float, second_s: float) -> float:
    """Restart an unhealthy service twice, as autoheal does; return when it is healthy.

    After the first restart it is unhealthy again, after the second one it is healthy.
    """
    services = scene.services
    services.set_healthy("web", False)
    services.wait_for_health("web", "unhealthy")
    first_event_s = time.monotonic()
    for offset_s, healthy in ((first_s, False), (second_s, True)):
        time.sleep(max(0.0, first_event_s + offset_s - time.monotonic()))
        services.set_healthy("web", healthy)
        services.engine.docker("restart", "--time=0", services.name("web"))
        services.wait_for_health("web", "healthy" if healthy else "unhealthy")
    return time.time()


def _run_healthy(services: Services) -> None:
    services.run("web", STEADY, [*ALWAYS, *HEALTH_CHECK])
    services.set_healthy("web", True)
    services.wait_for_health("web", "healthy")


def _give_up(scene: Scene) -> None:
    scene.services.run("web", UNTIL_CURED, ["--restart=on-failure:3"])


def _replace(scene: Scene, removed_s: float, started_s: float) -> float:
    """Remove a service that crashed, and start a new one of its name; return when."""
    scene.services.run("web", options=())
    scene.services.crash("web")
    crashed_s = time.monotonic()
    time.sleep(max(0.0, crashed_s + removed_s - time.monotonic()))
    scene.services.remove("web")
    time.sleep(max(0.0, crashed_s + started_s - time.monotonic()))
    scene.services.run("web", options=())
    return scene.services.wait_until_up("web")


def _crash_in_outage(scene: Scene, lost_s: float, back_s: float) -> float:
    """Let the engine be out of reach after a crash was reported; return when it is back."""
    assert scene.outage is not None
    _crash_once(scene)
    crashed_s = time.monotonic()
    scene.wait_until_reported(1)
    time.sleep(max(0.0, crashed_s + lost_s - time.monotonic()))
    with scene.outage.now():
        time.sleep(max(0.0, crashed_s + back_s - time.monotonic()))
    return time.time()


RECREATED = ("db", "api", "worker")


def _run_stack(services: Services) -> None:
    for service in RECREATED:
        services.run(service, STEADY)


def _recreate_stack(scene: Scene) -> None:
    for service in RECREATED:
        scene.services.recreate(service)


UNHEALTHY = {"type": "container", "health": "unhealthy"}
DIED_OR_OOM = {
    "type": "container",
    "any": [{"action": "die", "cause": ["crashed", "oom"]}, {"action": "oom"}],
}
"""As the example configuration has it."""
CHANGED = {"type": "container", "action": ["start", "die", "destroy"]}


ONCE = ["firing (opened) [1]: web", "resolved (resolved) [0]: web recovered"]
STACK = [
    "firing (opened) [2]: api, db",
    "firing (opened) [1]: api recovered, db recovered, worker",
    "resolved (resolved) [0]: worker recovered",
]
OUT_OF_MEMORY = ["firing (opened) [n]: web", "resolved (resolved) [n]: web recovered"]
HEALED = ["firing (opened) [1]: web", "resolved (resolved) [1]: web recovered"]
GIVEN_UP = ["firing (opened) [4]: web crash-looping"]


def _looped(resolution: str) -> list[str]:
    """Return what is reported of a loop, however often the service dies in it."""
    return [
        "firing (opened) [n]: web crash-looping",
        f"resolved (resolved) [n]: web {resolution}",
    ]


LOOP = Row("a4", _loop, _looped("recovered"))
STOPPED_LOOP = Row("a6", _stop_loop, _looped("stopped"))
KILLED_FOR_MEMORY = Row("a11", _run_out_of_memory, OUT_OF_MEMORY, matches={"died": DIED_OR_OOM})
UNHEALTHY_TWICE = Row("a13", _heal, HEALED, prepare=_run_healthy, matches={"unhealthy": UNHEALTHY})
RECREATION = Row(
    "a25", _recreate_stack, (), prepare=_run_stack, matches={"changed": CHANGED, "died": DIED}
)
"""What is reported of it depends on how long it takes: one message or two."""


def full_rows(loop_minutes: float) -> list[Row]:
    """Return the rows at their full length, with the default keys."""
    rows = [
        (Row("a1", _crash_once, ONCE), {}, [3.0, 63.1]),
        (LOOP, {"duration_s": loop_minutes * 60.0, "restarts": 5}, [3.05, 63.0]),
        (STOPPED_LOOP, {"duration_s": 42.5, "restarts": 5}, [3.05, 63.0]),
        (Row("a10", _crash_stack, STACK), {"api_s": 1.5, "worker_s": 5.0}, [3.0, 63.0, 123.0]),
        (KILLED_FOR_MEMORY, {}, [3.0, 63.15]),
        (UNHEALTHY_TWICE, {"first_s": 30.0, "second_s": 90.0}, [3.0, 63.0]),
        (Row("a15", _give_up, GIVEN_UP), {}, [3.0]),
        (Row("a21", _replace, ONCE), {"removed_s": 5.0, "started_s": 8.0}, [3.0, 63.0]),
        (Row("a24", _crash_in_outage, ONCE), {"lost_s": 20.0, "back_s": 400.0}, [3.0, 0.0]),
        (RECREATION, {}, []),
    ]
    return [
        replace(row, play=partial(row.play, **times), times_s=times_s)
        for row, times, times_s in rows
    ]


def short_rows() -> list[Row]:
    """Return the rows with short waits.

    Whatever decides what is reported is seconds apart, so that it is the same on a slow machine.
    """
    keys = {"group_wait": "2s", "group_interval": "3s", "resolve_after": "6s"}
    slow = keys | {"group_wait": "6s"}  # the third death, which makes a loop, comes after 1.4 s
    stack = {"group_wait": "2s", "group_interval": "10s", "resolve_after": "8s"}
    rows = [
        (Row("a1", _crash_once, ONCE), keys, {}),
        (LOOP, slow | {"resolve_after": "2s"}, {"duration_s": 0.0, "restarts": 10}),
        (STOPPED_LOOP, slow, {"duration_s": 0.0, "restarts": 7}),
        (Row("a10", _crash_stack, STACK), stack, {"api_s": 0.5, "worker_s": 6.0}),
        (KILLED_FOR_MEMORY, keys, {}),
        (UNHEALTHY_TWICE, keys, {"first_s": 4.0, "second_s": 9.0}),
        (Row("a15", _give_up, GIVEN_UP), keys | {"group_wait": "12s"}, {}),
        (Row("a21", _replace, ONCE), keys, {"removed_s": 3.5, "started_s": 6.0}),
        (Row("a24", _crash_in_outage, ONCE), keys, {"lost_s": 3.0, "back_s": 14.0}),
        (RECREATION, {"group_wait": "2s", "group_interval": "30s"}, {}),
    ]
    return [replace(row, play=partial(row.play, **times), keys=own) for row, own, times in rows]
