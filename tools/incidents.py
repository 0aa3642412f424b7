"""Counts the messages that a real engine causes: ``python -m tools.incidents [STIMULUS…]``.

A private Docker engine, a relay with the routes of its example configuration, and a receiver in the
place of Slack. Each stimulus is a compose project with a Slack destination of its own, so that all
run at the same time and none changes another's messages. Prints how many messages each made, when
and what they said. ``--relay FOLDER`` counts for the relay in another checkout.

``--full`` plays the rows of the acceptance table instead, side by side and with the default waits,
and compares the messages, and when they come, with the table. It takes as long as the row with the
longest loop: ``--minutes``, and two more.

``--record FILE`` also keeps the engine's events, one a line: `tools.quiet_day` makes a day of them.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine, find_binaries
from tests.support.incident_rows import full_rows
from tests.support.incident_stage import (
    Outage,
    Row,
    describe,
    messages,
    play_all,
    prepare_all,
    run_relay_for,
)
from tests.support.proxy import find_haproxy
from tests.support.receiver import Received, Receiver
from tests.support.services import (
    ALWAYS,
    HEALTH_CHECK,
    OUT_OF_MEMORY_ONCE,
    STEADY,
    UNTIL_CURED,
    Services,
)

REPOSITORY = Path(__file__).parents[1]

LOOP_MINUTES = 10.0
FLAPPING_MINUTES = 3.0
HALF_PERIOD_S = 5.0
"""How long the flapping service is healthy, and how long it is not."""
STACK = tuple(f"s{number}" for number in range(1, 9))
SETTLE_S = 150.0
"""How long messages are waited for at the end: Docker's longest delay between two restarts, the
minute in which a service has to stay well, and the time until that is reported."""

TOLERANCE_S = 2.0
"""How far a message may be from the table's time."""
RECONNECT_S = 35.0
"""How long relay takes at most to reach an engine again that was away, and to read its history."""
STAGGER_S = 6.0
"""The time between the starts of two rows: the table counts on an engine that restarts at once."""
SURPLUS_S = 90.0
"""How long messages are waited for that should not come."""


@dataclass(frozen=True, slots=True)
class Stimulus:
    """Something that happens to the services of one project."""

    name: str
    what: str
    play: Callable[[Services, float], None]
    """Called with the factor by which long stimuli are shortened."""
    routes: Sequence[Mapping[str, Any]] = ()
    """Routes besides those of the example configuration."""


def three_crash(services: Services, scale: float) -> None:
    """Let three services crash as often as they are started, then run."""
    names = ("web", "api", "worker")
    _loop(services, names, 60.0 * scale)


def loop(services: Services, scale: float) -> None:
    """Let one service crash as often as it is started, then run."""
    _loop(services, ("web",), LOOP_MINUTES * 60.0 * scale)


def _loop(services: Services, names: Sequence[str], duration_s: float) -> None:
    end_s = time.monotonic() + duration_s
    for name in names:
        services.run(name, UNTIL_CURED)
    time.sleep(max(0.0, end_s - time.monotonic()))
    for name in names:
        services.cure(name)


def flapping(services: Services, scale: float) -> None:
    """Let a health check succeed and fail in turn, then succeed."""
    services.run("web", STEADY, [*ALWAYS, *HEALTH_CHECK])
    end_s = time.monotonic() + FLAPPING_MINUTES * 60.0 * scale
    while time.monotonic() < end_s:
        for healthy in (True, False):
            services.set_healthy("web", healthy)
            time.sleep(HALF_PERIOD_S)
    services.set_healthy("web", True)


def stack_crashes(services: Services, scale: float) -> None:
    """Let eight services crash within a second; all come back."""
    for name in STACK:
        services.run(name)
    time.sleep(1.0)
    services.crash(*STACK)


def stack_recreated(services: Services, scale: float) -> None:
    """Recreate eight services as ``docker compose up --force-recreate`` does."""
    for name in STACK:
        services.run(name, STEADY)
    time.sleep(15.0)  # so that their first start is a message of its own
    for name in STACK:
        services.recreate(name)


def out_of_memory(services: Services, scale: float) -> None:
    """Let one service be killed for memory once; it comes back."""
    limits = ("--memory=16m", "--memory-swap=16m")
    services.run("web", OUT_OF_MEMORY_ONCE, [*ALWAYS, *limits])


CHANGES = {"name": "changes", "match": {"type": "container", "action": ["start", "die", "destroy"]}}

STIMULI = (
    Stimulus("three", "three containers crash at once under restart: always, 1 min", three_crash),
    Stimulus("loop", f"a crash loop of {LOOP_MINUTES:g} min", loop),
    Stimulus("flapping", f"a flapping health check, {FLAPPING_MINUTES:g} min", flapping),
    Stimulus("stack", "eight services of a stack crash once", stack_crashes),
    Stimulus("recreated", "a stack of eight is recreated", stack_recreated),
    Stimulus(
        "changes",
        "the same with a route for start, die, destroy (its 8 first starts included)",
        stack_recreated,
        [CHANGES],
    ),
    Stimulus("oom", "one OOM kill", out_of_memory),
)
"""What the tool knows; all are played unless some are named."""


def make_config(
    example: Path, engine_url: str, receiver: Receiver, stimuli: Sequence[Stimulus]
) -> dict[str, Any]:
    """Return the example's configuration, with its ``ops`` and its routes once for each stimulus.

    The copied routes also ask for the stimulus's project.
    """
    config: dict[str, Any] = yaml.safe_load(example.read_text())
    config["engines"]["here"] = {"url": engine_url}
    config["store"] = {"path": "relay.db"}  # in the folder of the configuration
    ops, routes = config["destinations"]["ops"], config["routes"]
    config["destinations"] = {
        f"ops-{each.name}": {**ops, "url": receiver.url(f"/{each.name}")} for each in stimuli
    }
    config["routes"] = [
        *(route for route in routes if route.get("drop")),
        *(
            _restrict(route, each.name)
            for each in stimuli
            for route in [*(it for it in routes if not it.get("drop")), *each.routes]
        ),
    ]
    return config


def _restrict(route: Mapping[str, Any], project: str) -> dict[str, Any]:
    label = {"com.docker.compose.project": project}
    return {
        **route,
        "name": f"{route['name']}-{project}",
        "match": {**route["match"], "label": label},
        "to": f"ops-{project}",
    }


def say(request: Received) -> str:
    """Return the texts of a Slack message on one line."""
    texts: list[str] = []

    def collect(value: Any) -> None:
        if isinstance(value, list):
            for each in value:
                collect(each)
        elif isinstance(value, dict):
            if isinstance(value.get("text"), str) and "blocks" not in value:
                texts.append(value["text"])
            for each in value.values():
                collect(each)

    collect(request.json)
    return re.sub(r"\s+", " ", " | ".join(texts))


def report(stimuli: Sequence[Stimulus], receiver: Receiver, starts_s: Mapping[str, float]) -> str:
    """Return the result as Markdown: a table of counts, then every message."""
    by_name = {
        each.name: [it for it in receiver.received if it.path == f"/{each.name}"]
        for each in stimuli
    }
    lines = ["| stimulus | messages |", "|---|---|"]
    lines += [f"| {each.what} | {len(by_name[each.name])} |" for each in stimuli]
    for each in stimuli:
        lines += ["", f"## {each.what}", ""]
        lines += [
            f"- {it.time_s - starts_s[each.name]:.1f} s: {say(it)}" for it in by_name[each.name]
        ]
    return "\n".join(lines)


@contextmanager
def record(engine: PrivateEngine, file: Path | None) -> Iterator[None]:
    """Write the engine's events to a file meanwhile."""
    if file is None:
        yield
        return
    docker = find_binaries().docker
    command = [docker, "--host", engine.url, "events", "--format", "{{json .}}"]
    with file.open("wb") as out, subprocess.Popen(command, stdout=out) as listener:
        try:
            yield
        finally:
            listener.terminate()


def count(
    relay: Path, stimuli: Sequence[Stimulus], scale: float, settle_s: float, recording: Path | None
) -> str:
    """Play the stimuli side by side; return the report."""
    starts_s: dict[str, float] = {}

    def play(stimulus: Stimulus) -> None:
        starts_s[stimulus.name] = time.time()
        stimulus.play(Services(engine, stimulus.name), scale)

    env = {"PYTHONPATH": str(relay), "SLACK_WEBHOOK_URL": "unused", "AUDIT_TOKEN": "unused"}
    with (
        tempfile.TemporaryDirectory(prefix="relay-") as folder,
        Receiver() as receiver,
        PrivateEngine(find_binaries()) as engine,
    ):
        example = relay / "config.example.yaml"
        config = write_config(Path(folder), **make_config(example, engine.url, receiver, stimuli))
        with record(engine, recording), RelayProcess(config, env=env) as process:
            process.wait_for_log("engine.connected")
            players = [threading.Thread(target=play, args=(each,)) for each in stimuli]
            for player in players:
                player.start()
            for player in players:
                player.join()
            time.sleep(settle_s)
            process.terminate()
        return report(stimuli, receiver, starts_s)


def compare(row: Row, receiver: Receiver, anchor_s: float | None) -> tuple[str, bool]:
    """Return what is expected of a row and what came, as text, and whether it is the same."""
    audit = messages(receiver, row.name, "audit")
    first_s = audit[0].json["events"][0]["time_ns"] / 1e9
    reported = messages(receiver, row.name)
    chat = [say(it) for it in messages(receiver, row.name, "chat")]
    found = [describe(it.json, counts=row.counts) for it in reported]
    total = sum(it.json["count"] for it in reported)
    same = total == len(audit) and (
        found == row.expected or (not row.expected and len(reported) <= 2)
    )
    lines = [f"## {row.name}: {len(audit)} events, {len(reported)} messages", ""]
    for number, it in enumerate(reported):
        is_last = number > 0 and number == len(reported) - 1
        start_s = anchor_s if is_last and anchor_s is not None else first_s
        got_s = it.time_s - start_s
        wanted = row.expected[number] if number < len(row.expected) else "anything"
        if number < len(row.times_s):
            wanted_s = row.times_s[number]
            same = same and -TOLERANCE_S <= got_s - wanted_s <= _tolerance_s(row, number)
            wanted = f"{wanted_s:.1f} s {wanted}"
        lines.append(f"- expected {wanted}")
        lines.append(f"  got {got_s:.1f} s {describe(it.json)}; {it.time_s - first_s:.1f} s in all")
        lines.append(f"  chat: {chat[number] if number < len(chat) else 'nothing'}")
    lines += [f"- missing: {each}" for each in row.expected[len(reported) :]]
    return "\n".join([*lines, "", "as expected" if same else "DIFFERENT", ""]), same


def _tolerance_s(row: Row, number: int) -> float:
    """Return how late a message may be: after an outage relay first has to reach the engine."""
    return RECONNECT_S if row.times_s[number] == 0 else TOLERANCE_S


def play_full(relay: Path, minutes: float) -> int:
    """Play the acceptance table with the default waits; print the result, return the exit code."""
    rows = full_rows(minutes)
    behind_proxy = [row for row in rows if row.name == "a24"]
    env = {"PYTHONPATH": str(relay)}
    with (
        tempfile.TemporaryDirectory(prefix="relay-") as folder,
        tempfile.TemporaryDirectory(prefix="relay-") as other,
        Receiver() as receiver,
        PrivateEngine(find_binaries()) as engine,
    ):
        prepare_all(engine, rows)
        outage = Outage(find_haproxy(), engine)
        direct = [row for row in rows if row not in behind_proxy]
        try:
            with (
                run_relay_for(direct, engine.url, receiver, Path(folder), env),
                run_relay_for(behind_proxy, outage.url, receiver, Path(other), env),
            ):
                anchors_s = play_all(engine, receiver, rows, outage, stagger_s=STAGGER_S)
                time.sleep(SURPLUS_S)
        finally:
            outage.close()
        results = [compare(row, receiver, anchors_s[row.name]) for row in rows]
    print("\n".join(text for text, _ in results))
    return 0 if all(same for _, same in results) else 1


def main() -> int:
    """Count, print the report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [each.name for each in STIMULI]
    parser.add_argument("stimuli", nargs="*", metavar="STIMULUS", help=f"of {', '.join(names)}")
    parser.add_argument("--relay", type=Path, default=REPOSITORY, help="the checkout to count for")
    parser.add_argument("--scale", type=float, default=1.0, help="shortens the long stimuli")
    parser.add_argument("--settle", type=float, default=SETTLE_S, help="wait at the end, seconds")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keeps the engine's events")
    parser.add_argument("--full", action="store_true", help="plays the acceptance table")
    parser.add_argument("--minutes", type=float, default=60.0, help="of its loop")
    arguments = parser.parse_args()
    if arguments.full:
        return play_full(arguments.relay.resolve(), arguments.minutes)
    if unknown := set(arguments.stimuli) - set(names):
        parser.error(f"no such stimulus: {', '.join(sorted(unknown))}; there are {names}")
    chosen = [each for each in STIMULI if not arguments.stimuli or each.name in arguments.stimuli]
    relay, recording = arguments.relay.resolve(), arguments.record
    print(count(relay, chosen, arguments.scale, arguments.settle, recording))
    return 0


if __name__ == "__main__":
    sys.exit(main())
