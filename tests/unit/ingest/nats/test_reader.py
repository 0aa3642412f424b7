"""What is under way at a takeover comes before what came after it."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from relay.ingest.nats import reader as reader_module
from relay.ingest.nats.reader import MessageReader
from relay.nats.failure import FailureKind, RequestError
from relay.nats.puller import PulledMessage
from tests.unit.ingest.nats.samples import make_message, numbers

ACK_WAIT_S = 0.1


class FakePuller:
    """Returns one prepared batch at each call, and says what the consumer is to say."""

    def __init__(self, batches: Sequence[Sequence[int]], under_way: Sequence[int | None]) -> None:
        self.pin_id: str | None = "pin-1"
        self.ack_wait_s = ACK_WAIT_S
        self.is_superseded = False
        self.dropped_count = 0
        self._batches = [[make_message(seq) for seq in batch] for batch in batches]
        self._under_way = list(under_way)
        self.asked = 0
        self.on_pull: Callable[[list[PulledMessage]], None] = lambda _: None

    async def pull(self, _: int, expires_s: float) -> list[PulledMessage]:
        if not self._batches:
            await asyncio.sleep(min(expires_s, 0.001))
            return []
        messages = self._batches.pop(0)
        self.on_pull(messages)
        return messages

    async def consumer_info(self) -> Any:
        self.asked += 1
        count = self._under_way.pop(0) if len(self._under_way) > 1 else self._under_way[0]
        if count is None:
            raise RequestError(FailureKind.NO_ANSWER, "no answer")
        return SimpleNamespace(num_ack_pending=count)


def make_reader(puller: FakePuller) -> tuple[MessageReader, SimpleNamespace]:
    """A reader, and the connection that it reads from."""
    connection = SimpleNamespace(opened_count=1)
    make: Any = MessageReader
    return make("fleet", connection, puller, 4), connection


async def test_nothing_is_held_if_nothing_else_is_under_way() -> None:
    """And later the consumer is not asked again."""
    puller = FakePuller([[1, 2], [3]], under_way=[2])
    reader, _ = make_reader(puller)
    assert numbers(await reader.read()) == [1, 2]
    assert numbers(await reader.read()) == [3]
    assert await reader.read() == []
    assert puller.asked == 1


async def test_what_was_under_way_comes_first() -> None:
    """Each message once, although some are delivered twice meanwhile."""
    puller = FakePuller([[11, 12], [13, 3, 4], [], [11, 1, 2]], under_way=[6, 7, 7, 7])
    reader, _ = make_reader(puller)
    assert numbers(await reader.read()) == [1, 2, 3, 4, 11, 12, 13]


async def test_it_does_not_wait_for_ever() -> None:
    """Another hub may have them, if the consumer does not pin; it is given time to lose them."""
    puller = FakePuller([[5], [6]], under_way=[9])
    puller.ack_wait_s = 0.0
    reader, _ = make_reader(puller)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert numbers(await reader.read()) == [5, 6]
    assert loop.time() - began_s >= reader_module.GRACE_S


@pytest.mark.parametrize("what", ["connection", "pin", "info"])
async def test_a_loss_meanwhile_begins_anew(what: str) -> None:
    """What was held is not acknowledged, so it comes again."""
    puller = FakePuller([[5], [1], [1, 5]], under_way=[None if what == "info" else 3, 2, 2])
    reader, connection = make_reader(puller)

    def lose(messages: list[PulledMessage]) -> None:
        if numbers(messages) == [1]:
            connection.opened_count += what == "connection"
            puller.pin_id = "pin-2" if what == "pin" else "pin-1"

    puller.on_pull = lose
    assert await reader.read() == []
    found = await reader.read()
    while not found:
        found = await reader.read()
    assert numbers(found)[0] == 1


@pytest.mark.parametrize("what", ["connection", "pin", "time"])
async def test_after_each_loss_it_gathers_again(what: str) -> None:
    """A message may have been lost on its way."""
    puller = FakePuller([[1], [7], [6]], under_way=[1, 2, 2])
    reader, connection = make_reader(puller)
    assert numbers(await reader.read()) == [1]
    connection.opened_count += what == "connection"
    puller.pin_id = "pin-2" if what == "pin" else "pin-1"
    puller.dropped_count += what == "time"
    assert numbers(await reader.read()) == [6, 7]


async def test_after_a_hang_the_messages_may_be_those_of_another_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are dropped then: the other hub processes them."""
    monkeypatch.setattr(reader_module, "HANG_S", -1.0)
    puller = FakePuller([[1], [2, 3], [4]], under_way=[1, 2, 1])
    reader, _ = make_reader(puller)
    assert numbers(await reader.read()) == [1]
    puller.is_superseded = True
    assert await reader.read() == []
    puller.is_superseded = False
    assert numbers(await reader.read()) == [4]


async def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With enough of it nothing more is pulled, until the wait is over."""
    monkeypatch.setattr(reader_module, "HELD_BYTES", 100)
    monkeypatch.setattr(reader_module, "POLL_S", 0.001)
    puller = FakePuller([[5], [6]], under_way=[9, 9, 9, 1])
    reader, _ = make_reader(puller)
    assert numbers(await reader.read()) == [5]
