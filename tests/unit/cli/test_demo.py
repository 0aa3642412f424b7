"""``relay demo`` without a destination."""

import asyncio
from contextlib import suppress

import click
import pytest

from relay.cli.demo import SPEED, play
from relay.core.notification import Notification
from relay.core.zone import UTC_ZONE
from relay.dryrun.story import CHAT, Cast, chat_config, tell_story
from tests.unit.cli.cli_store import run

START_NS = 1_795_416_514 * 10**9
STEPS = tell_story(chat_config(), CHAT, Cast(), START_NS)


async def show_all() -> tuple[list[str], float]:
    """Return the lines without colours, and how long the pauses are together."""
    lines: list[str] = []
    slept_s = 0.0

    async def sleep(duration_s: float) -> None:
        nonlocal slept_s
        slept_s += duration_s

    assert await play(STEPS, lambda line: lines.append(click.unstyle(line)), sleep, zone=UTC_ZONE)
    return lines, slept_s


async def test_shows_a_crash_a_loop_and_its_end() -> None:
    """As the chat does, with the events before each message."""
    lines, _ = await show_all()
    assert [line for line in lines if "┃ 🔴" in line or "┃ 🟢" in line] == [
        "          ┃ 🔴 shop-web-1 crashed with exit code 1 after running for 2 h and is up again",
        "          ┃ 🔴 shop-web-1 is crash-looping: crashed 8 times in 58 s with exit code 1",
        "          ┃ 🟢 Resolved: shop-web-1 is up again after 2 min (8 deaths)",
    ]
    assert lines[0] == "06:48:34  shop-web-1 crashes with exit code 1"
    assert (
        "          ┃ Logs            docker logs --since 2026-11-23T06:47:34Z shop-web-1" in lines
    )
    assert "          ┃   panic: no database" in lines
    assert "06:49:44  shop-web-1 is started, and stays up" in lines
    assert len([line for line in lines if line[0].isdigit()]) == 8 + 1 + 3 + 1
    assert lines[-1] == "8 crashes, 3 messages."


async def test_takes_seconds() -> None:
    """Two minutes of the events' clock are shown in less than twelve."""
    _, slept_s = await show_all()
    assert 130 / SPEED / 2 < slept_s < 12


async def test_an_interrupted_story_is_ended() -> None:
    """After Ctrl-C the last message is still sent, if there was a first."""
    sent: list[Notification] = []

    async def send(notification: Notification) -> bool:
        sent.append(notification)
        return True

    async def sleep(_: float) -> None:
        if sent:
            raise asyncio.CancelledError

    with suppress(asyncio.CancelledError):
        await play(STEPS, lambda _: None, sleep, send, zone=UTC_ZONE)
    assert [it.status for it in sent] == ["firing", "resolved"]


def test_prints_what_to_do_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs no configuration, not even if there is a bad one."""
    monkeypatch.setenv("RELAY_CONFIG", "/nowhere.yaml")
    monkeypatch.setattr("relay.cli.demo.SPEED", float("inf"))
    monkeypatch.setattr("relay.cli.demo.READING_S", 0)
    result = run("demo")
    assert result.exit_code == 0
    assert "relay demo --to DESTINATION" in result.output


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--config", "c.yaml"), "--config is for --to DESTINATION"),
        (("--to", "opps"), "no destination 'opps'; there are: terminal, ops, audit"),
    ],
)
@pytest.mark.usefixtures("file")
def test_bad_usage(arguments: tuple[str, ...], error: str) -> None:
    """Says what there is."""
    result = run("demo", *arguments)
    assert result.exit_code == 2
    assert error in result.output
