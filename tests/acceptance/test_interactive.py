"""Containers in somebody's terminal, and builds: crashes that are not reported as a service's."""

import os
import pty
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.daemon import RelayProcess, write_config
from tests.support.receiver import Receiver
from tests.support.sandboxed_engine import COMMAND_TIMEOUT_S, IMAGE, SandboxedEngine

CRASH = {"type": "container", "action": "die", "cause": "crashed"}


def write_interactive_config(folder: Path, engine: SandboxedEngine, receiver: Receiver) -> Path:
    """Route crashes to one of two paths."""
    hooks = {name: {"type": "http", "url": receiver.url(f"/{name}")} for name in ("seen", "unseen")}
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": str(folder / "relay.db")},
        reconcile={"every": "0s", "on_reconnect": False},
        destinations=hooks,
        routes=[
            {"name": "seen", "match": {**CRASH, "interactive": True}, "to": "seen"},
            {"name": "unseen", "match": {**CRASH, "interactive": False}, "to": "unseen"},
        ],
    )


@contextmanager
def terminal(engine: SandboxedEngine, name: str, *command: str, rm: bool = False) -> Iterator[int]:
    """Run a container as somebody at a terminal does; yield the terminal."""
    ours, theirs = pty.openpty()
    options = ["--network=none", f"--name={name}", *engine._run_options, *(["--rm"] if rm else [])]
    process = subprocess.Popen(
        [engine._docker, "-H", engine.url, "run", "-it", *options, IMAGE, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=engine._env,
        start_new_session=True,
    )
    os.close(theirs)
    threading.Thread(target=_drain, args=(ours,), daemon=True).start()
    try:
        yield ours
        process.wait(COMMAND_TIMEOUT_S)
    finally:
        process.kill()
        process.wait()


def _drain(file: int) -> None:
    """Read what the terminal shows, or the program would wait."""
    try:
        while os.read(file, 4096):
            pass
    except OSError:  # the other side is closed
        os.close(file)


def build(engine: SandboxedEngine, *steps: str) -> None:
    """Run the classic builder, which fails."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text("\n".join([f"FROM {IMAGE}", *steps]))
        done = subprocess.run(
            [engine._docker, "-H", engine.url, "build", "--network=none", folder],
            capture_output=True,
            env={**engine._env, "DOCKER_BUILDKIT": "0"},
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert done.returncode != 0


def crashes(receiver: Receiver, path: str) -> list[tuple[str, int]]:
    """Return the name and the exit code of each crash that arrived at a path."""
    events: list[dict[str, Any]] = [
        event
        for request in receiver.received
        if request.path == path
        for event in request.json["events"]
    ]
    return sorted((event["actor"]["name"], event["exit_code"]) for event in events)


def run_services(engine: SandboxedEngine, services: Sequence[tuple[str, str]]) -> None:
    """Start services that crash: name, and how they are started."""
    for name, how in services:
        engine.run("sh", "-c", "sleep 0.5; exit 9", name=name, options=[how])


def test_what_somebody_saw(
    each_engine: tuple[str, SandboxedEngine], receiver: Receiver, relay_folder: Path
) -> None:
    """``interactive`` distinguishes shells and builds from services, even those with a terminal."""
    name, engine = each_engine
    services = [("plain", "--init=false"), ("detached", "-it"), ("with-tty", "--tty")]
    with RelayProcess(write_interactive_config(relay_folder, engine, receiver)) as relay:
        relay.wait_for_log("engine.connected")
        with terminal(engine, "mistyped", "sh") as keyboard:
            engine.wait_for_event("start", "mistyped", since_ns=0)
            os.write(keyboard, b"nosuchcommand\nexit\n")
        with terminal(engine, "brief", "sh", "-c", "exit 4", rm=True):
            pass
        build(engine, "RUN exit 3")
        run_services(engine, services)
        receiver.wait_for(lambda _: len(crashes(receiver, "/unseen")) >= len(services))
        relay.terminate()
    engine.remove_containers()
    seen, unseen = crashes(receiver, "/seen"), crashes(receiver, "/unseen")
    if name.startswith("podman"):  # it does not show terminals, and its builds have no containers
        assert seen == []
        assert {"mistyped", "brief", "plain", "detached", "with-tty"} == {it[0] for it in unseen}
        return
    assert unseen == [("detached", 9), ("plain", 9), ("with-tty", 9)]
    assert sorted(code for _, code in seen) == [3, 4, 127]


def test_a_kill_from_inside_leaves_no_event(
    each_engine: tuple[str, SandboxedEngine], receiver: Receiver, relay_folder: Path
) -> None:
    """``docker exec web kill 1`` keeps its cause: the documents say so."""
    _, engine = each_engine
    script = "trap 'exit 5' TERM; while :; do sleep 0.1; done"
    with RelayProcess(write_interactive_config(relay_folder, engine, receiver)) as relay:
        relay.wait_for_log("engine.connected")
        engine.run("sh", "-c", script, name="web")
        engine.docker("exec", "web", "kill", "-TERM", "1")
        receiver.wait_for(lambda _: crashes(receiver, "/unseen") == [("web", 5)])
        relay.terminate()
    engine.remove_containers()
