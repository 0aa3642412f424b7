"""Sending the notifications of a recording, as `relay replay --deliver` does."""

import asyncio
import io
import os
import pty
import subprocess
import sys
from pathlib import Path

from aiohttp import web

from relay.config import Config
from relay.core.tasks import Shutdown
from relay.delivery.client import ConsoleOutput
from relay.destinations.catalog import parse_config
from relay.dryrun.deliver import ProgressMonitor, deliver
from relay.dryrun.history import Recording
from relay.dryrun.incidents import PlannedNotification
from relay.dryrun.simulator import Simulator
from tests.component.webhook import Webhook
from tests.streams import read_records
from tests.support.loopback import on_loopback

PATIENCE_S = 20
LOOPING = ["looping"] * 4


def configured(url: str, more: str = "") -> Config:
    text = f"""
destinations:
  hook: {{type: http, url: "{url}", retry: {{initial: 10ms, max: 10ms}}{more}}}
  unused: {{type: http, url: "http://127.0.0.1:1/"}}
routes: [{{name: crashed, match: {{type: container, action: die, cause: crashed}}, to: hook}}]
"""
    return parse_config(text, file="test", environ={}, folder=Path("/"))


def plan(config: Config) -> list[PlannedNotification]:
    simulator = Simulator(config)
    batches = simulator.run(Recording(simulator, read_records("docker26")))
    return [each for batch in batches for each in batch.planned]


def make_console() -> ConsoleOutput:
    return ConsoleOutput(io.BytesIO(), colour=False)


def make_monitor(
    printed: list[str], finished: list[int], patience_s: float = PATIENCE_S
) -> ProgressMonitor:
    return ProgressMonitor(patience_s, printed.append, finished.append)


async def test_all_of_it_arrives_in_order(webhook: Webhook, url: str) -> None:
    """Ids are those of the recording; destinations that get nothing are left out."""
    config = configured(url)
    planned, finished = plan(config), list[int]()
    summaries = await deliver(
        planned, config, make_console(), Shutdown(), make_monitor([], finished)
    )
    assert sorted(webhook.summaries()) == sorted([*LOOPING, "failed", "hostkilled", "shop-web-1"])
    ids = [received.id for received in webhook.received if received.summary == "looping"]
    notifications = [delivery.notification for delivery in planned]
    assert ids == [
        notification.id
        for notification in notifications
        if notification.events[0].actor.name == "looping"
    ]
    assert list(summaries) == ["hook"]
    assert (
        summaries["hook"].delivered,
        summaries["hook"].given_up,
        summaries["hook"].not_sent,
    ) == (7, 0, 0)
    assert sum(finished) == 7


async def test_batches(webhook: Webhook, url: str) -> None:
    """Batched deliveries are counted one by one."""
    config = configured(url, ", batch: {wait: 0s}")
    summaries = await deliver(
        plan(config), config, make_console(), Shutdown(), make_monitor([], [])
    )
    assert (
        summaries["hook"].delivered,
        summaries["hook"].given_up,
        summaries["hook"].not_sent,
    ) == (7, 0, 0)
    assert sum(webhook.request_sizes) == 7
    assert max(webhook.request_sizes) > 1


async def test_failures_are_retried() -> None:
    """Retries are the daemon's; a refused delivery is given up."""
    answers = iter([503, 404])

    async def hook(_: web.Request) -> web.Response:
        return web.Response(status=next(answers, 200))

    app = web.Application()
    app.router.add_post("/", hook)
    async with on_loopback(app) as url:
        config = configured(f"{url}/", ", concurrency: 1")
        summaries = await deliver(
            plan(config), config, make_console(), Shutdown(), make_monitor([], [])
        )
    assert (summaries["hook"].delivered, summaries["hook"].given_up) == (6, 1)
    assert summaries["hook"].reasons == {"unavailable": 1, "refused": 1}


async def test_patience() -> None:
    """Sending ends if no delivery finishes for that long."""
    config, printed = configured("http://127.0.0.1:1/"), list[str]()
    summaries = await deliver(
        plan(config), config, make_console(), Shutdown(), make_monitor(printed, [], 0.3)
    )
    assert summaries["hook"].not_sent == 7
    assert printed == [
        "hook fails: Connection refused",
        "no delivery has finished for 0.3 s: the rest is not sent",
    ]


async def test_a_requested_stop(webhook: Webhook, url: str) -> None:
    """Deliveries that were not sent are counted."""
    webhook.hold()
    config, stop = configured(url, ", concurrency: 2"), Shutdown()
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        run = tasks.create_task(
            deliver(plan(config), config, make_console(), stop, make_monitor([], []))
        )
        await webhook.wait_for(lambda whats: len(whats) == 2)
        stop.request()
        webhook.release()
    assert run.result()["hook"].delivered >= 2
    assert run.result()["hook"].delivered + run.result()["hook"].not_sent == 7


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    """A progress bar goes to standard error, and not to standard output."""
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
    """Read all that was written to a terminal whose other end is closed."""
    shown = b""
    try:
        while chunk := os.read(terminal, 4096):
            shown += chunk
    except OSError:  # Linux reports the closed other end so
        pass
    finally:
        os.close(terminal)
    return shown
