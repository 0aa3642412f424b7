"""``relay demo --to``, at a receiver."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from relay.cli.demo import SENDING_S, play_at
from relay.config import Config
from relay.destinations.catalog import parse_config
from tests.support.receiver import Receiver, Reply

DELIVERED = Reply(200, body=b"ok")
REFUSED = Reply(403, body=b"invalid_token")


def make_config(receiver: Receiver, keys: str = "") -> Config:
    """Return a configuration whose only route would send nothing of the story."""
    text = f"""
destinations:
  chat: {{type: slack, url: "{receiver.url("/hook")}", {keys}}}
routes: [{{name: networks, match: {{type: network}}, to: chat}}]
"""
    return parse_config(text, file="c", environ={}, folder=Path("/"))


async def play_with(
    replies: Sequence[Reply], keys: str = ""
) -> tuple[bool, list[Any], list[float]]:
    """Play at a receiver with these answers; return the result, what it got, and the pauses."""
    slept: list[float] = []

    async def sleep(duration_s: float) -> None:
        slept.append(duration_s)

    with Receiver() as receiver:
        answers = iter(replies)
        receiver.answer(lambda _: next(answers))
        result = await play_at("chat", make_config(receiver, keys), sleep)
        return result, [it.json for it in receiver.received], slept


async def test_shows_the_whole_story() -> None:
    """Three messages, each marked as a demonstration wherever it has a name, none as delayed."""
    result, sent, slept = await play_with([DELIVERED] * 3)
    assert result
    assert [it["blocks"][0]["text"]["text"] for it in sent] == [
        "🔴 [demonstration] shop-web-1 crashed with exit code 1 after running for 2 h "
        "and is up again",
        "🔴 [demonstration] shop-web-1 is crash-looping: crashed 8 times in 58 s with exit code 1",
        "🟢 Resolved: [demonstration] shop-web-1 is up again after 2 min (8 deaths)",
    ]
    notes = ["sent by 'relay demo': nothing has happened" in str(it) for it in sent]
    assert notes == [True, True, False]  # what is over shows no log
    assert max(slept) > SENDING_S - 1


async def test_stops_at_the_first_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    """Says why, and what to do; nothing was opened, so there is no end to report."""
    result, sent, _ = await play_with([REFUSED])
    assert not result
    assert len(sent) == 1
    printed = capsys.readouterr().out
    assert "chat: relay would make this a dead letter" in printed
    assert "check the token" in printed
    assert "8 crashes" not in printed


async def test_shows_the_end_of_what_it_opened() -> None:
    """Even if a message in between was refused: a pager would wait for it."""
    result, sent, _ = await play_with([DELIVERED, REFUSED, DELIVERED])
    assert not result
    assert "Resolved" in str(sent[-1]["blocks"])
    assert len(sent) == 3


async def test_a_destination_of_events_gets_eight() -> None:
    """The keys of the destination count; there is no end to send after a refusal."""
    result, sent, _ = await play_with([DELIVERED] * 8, "notify: events")
    assert result
    assert len(sent) == 8
    result, sent, _ = await play_with([DELIVERED, REFUSED], "notify: events")
    assert not result
    assert len(sent) == 2
