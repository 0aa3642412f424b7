"""What is in the stream to which hosts publish, as an administrator sees it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from relay.core.event import Event
from relay.nats.jetstream import call_api, create_stream, stream_info
from relay.nats.message import decode_event
from relay.nats.subjects import parse_subject
from tests.component.nats_fixtures import connected, stream_config
from tests.component.wait import TIMEOUT_S
from tests.support.nats_server import NatsServer


class Stored(msgspec.Struct):
    """A message of a stream, as the API returns it."""

    subject: str
    seq: int
    hdrs: bytes
    data: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Its headers by name."""
        lines = self.hdrs.decode().split("\r\n")[1:]
        return dict(line.split(": ", 1) for line in lines if line)

    @property
    def event(self) -> Event:
        """Its event, of the host that the subject names."""
        subject = parse_subject(self.subject)
        assert subject is not None
        return decode_event(self.data, host=subject.host, via="fleet").event


class _Answer(msgspec.Struct):
    message: Stored


async def make_stream(
    server: NatsServer, keys: dict[str, Any] | None = None, **changes: Any
) -> None:
    """Make the stream RELAY; ``keys`` log in, ``changes`` are those of `stream_config`."""
    async with connected(server, **(keys or {})) as admin:
        await create_stream(admin, stream_config(**changes))


async def count_messages(server: NatsServer, **keys: Any) -> int:
    """How many messages the stream holds."""
    async with connected(server, **keys) as admin:
        return (await stream_info(admin, "RELAY")).state.messages


async def read_messages(server: NatsServer, **keys: Any) -> Sequence[Stored]:
    """All messages of the stream, in its order."""
    async with connected(server, **keys) as admin:
        state = (await stream_info(admin, "RELAY")).state
        numbers = range(state.first_seq, state.last_seq + 1 if state.messages else 0)
        return [
            (await call_api(admin, "STREAM.MSG.GET.RELAY", _Answer, {"seq": number})).message
            for number in numbers
        ]


async def wait_for_messages(server: NatsServer, count: int, **keys: Any) -> None:
    """Return once the stream holds so many messages, or more."""
    async with asyncio.timeout(TIMEOUT_S), connected(server, **keys) as admin:
        while (await stream_info(admin, "RELAY")).state.messages < count:
            await asyncio.sleep(0.01)


async def take_messages(server: NatsServer) -> Sequence[Stored]:
    """Remove the messages that are there, as a hub does, and return them in their order."""
    messages = await read_messages(server)
    async with connected(server) as admin:
        for message in messages:
            await call_api(admin, "STREAM.MSG.DELETE.RELAY", dict[str, Any], {"seq": message.seq})
    return messages


async def purge(server: NatsServer, **keys: Any) -> None:
    """Remove all messages, as if a hub had taken them."""
    async with connected(server, **keys) as admin:
        await call_api(admin, "STREAM.PURGE.RELAY", dict[str, Any])
