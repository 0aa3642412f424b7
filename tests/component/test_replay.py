"""Recordings that are really sent."""

import asyncio
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

from aiohttp import web

from relay.config import Config, parse
from relay.core.shutdown import Shutdown
from relay.delivery.client import ConsoleOutput
from relay.dryrun.deliver import ProgressMonitor, deliver
from relay.dryrun.recording import Recording
from relay.dryrun.simulator import PlannedNotification, Simulator
from tests.component.webhook import Webhook
from tests.streams import read_records

PATIENCE_S = 20
LOOPING = ["looping"] * 4


def configured(url: str, more: str = "") -> Config:
    text = f"""
destinations:
  hook: {{type: http, url: "{url}", retry: {{initial: 10ms, max: 10ms}}{more}}}
  unused: {{type: http, url: "http://127.0.0.1:1/"}}
routes: [{{name: crashed, match: {{type: container, action: die, cause: crashed}}, to: hook}}]
"""
    return parse(text, file="test", environ={}, folder=Path("/"))


def recorded(config: Config) -> list[PlannedNotification]:
    rehearsal = Simulator(config)
    outcomes = rehearsal.run(Recording(rehearsal, read_records("docker26")))
    return [each for outcome in outcomes for each in outcome.planned]


def terminal() -> ConsoleOutput:
    return ConsoleOutput(io.BytesIO(), colour=False)


def watch(said: list[str], ended: list[int], patience_s: float = PATIENCE_S) -> ProgressMonitor:
    return ProgressMonitor(patience_s, said.append, ended.append)


async def test_all_of_it_arrives_in_order(webhook: Webhook, url: str) -> None:
    """Under the ids that it has for ever; nothing is opened for destinations that get nothing."""
    config = configured(url)
    sent, ended = recorded(config), list[int]()
    fates = await deliver(sent, config, terminal(), Shutdown(), watch([], ended))
    assert sorted(webhook.summaries()) == sorted([*LOOPING, "failed", "hostkilled", "shop-web-1"])
    ids = [it.id for it in webhook.received if it.summary == "looping"]
    told = [it.notification for it in sent]
    assert ids == [it.id for it in told if it.events[0].actor.name == "looping"]
    assert list(fates) == ["hook"]
    assert (fates["hook"].delivered, fates["hook"].given_up, fates["hook"].not_sent) == (7, 0, 0)
    assert sum(ended) == 7


async def test_batches_arrive_as_such(webhook: Webhook, url: str) -> None:
    """What became of each is told, as if they had come one by one."""
    config = configured(url, ", batch: {wait: 0s}")
    fates = await deliver(recorded(config), config, terminal(), Shutdown(), watch([], []))
    assert (fates["hook"].delivered, fates["hook"].given_up, fates["hook"].not_sent) == (7, 0, 0)
    assert sum(webhook.request_sizes) == 7
    assert max(webhook.request_sizes) > 1


async def test_what_fails_is_tried_again() -> None:
    """As the daemon does it; what is refused is given up."""
    answers = iter([503, 404])

    async def hook(_: web.Request) -> web.Response:
        return web.Response(status=next(answers, 200))

    app = web.Application()
    app.router.add_post("/", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        config = configured(f"http://127.0.0.1:{runner.addresses[0][1]}/", ", concurrency: 1")
        fates = await deliver(recorded(config), config, terminal(), Shutdown(), watch([], []))
    finally:
        await runner.cleanup()
    assert (fates["hook"].delivered, fates["hook"].given_up) == (6, 1)
    assert fates["hook"].reasons == {"unavailable": 1, "refused": 1}


async def test_it_ends_when_patience_does() -> None:
    """A destination that is gone keeps nobody waiting for three days."""
    config, said = configured("http://127.0.0.1:1/"), list[str]()
    fates = await deliver(recorded(config), config, terminal(), Shutdown(), watch(said, [], 0.3))
    assert fates["hook"].not_sent == 7
    assert said == [
        "hook fails: Connection refused",
        "nothing came to an end for 0.3 s: the rest is not sent",
    ]


async def test_it_ends_when_it_is_told_to(webhook: Webhook, url: str) -> None:
    """What is not sent then is counted."""
    webhook.hold()
    config, stop = configured(url, ", concurrency: 2"), Shutdown()
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        run = tasks.create_task(deliver(recorded(config), config, terminal(), stop, watch([], [])))
        await webhook.wait_for(lambda whats: len(whats) == 2)
        stop.request()
        webhook.release()
    assert run.result()["hook"].delivered >= 2
    assert run.result()["hook"].delivered + run.result()["hook"].not_sent == 7


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    """A bar on standard error, and none of it among what is printed."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "destinations: {terminal: {type: console}}\n"
        "routes: [{name: oom, match: {action: oom}, to: terminal}]\n"
    )
    recording = tmp_path / "recorded.jsonl"
    recording.write_bytes(b"\n".join(read_records("docker26")) + b"\n")
    command = [sys.executable, "-m", "relay", "replay", str(recording), "--config", str(config)]
    ours, theirs = pty.openpty()
    try:
        ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, check=True)
    finally:
        os.close(theirs)
    shown = _rest(ours)
    assert b"reading" in shown
    assert b"100%" in shown
    assert ran.stdout.count(b"\n") == 2
    assert b"%" not in ran.stdout


def _rest(terminal: int) -> bytes:
    """All that was written to a terminal whose other end is closed."""
    shown = b""
    try:
        while chunk := os.read(terminal, 4096):
            shown += chunk
    except OSError:  # so Linux says that nobody can write to it any more
        pass
    finally:
        os.close(terminal)
    return shown
