"""What the reply subject of a message says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.nats.connection import Message
from relay.nats.puller import _read_pulled


def message(reply: str) -> Message:
    return Message("relay.events.web-17.container.die", reply, {}, b"x")


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.RELAY.HUB.2.17.5.1700000000000000000.3",
        "$JS.ACK._.ACCHASH.RELAY.HUB.2.17.5.1700000000000000000.3",
        "$JS.ACK.hub.ACCHASH.RELAY.HUB.2.17.5.1700000000000000000.3.random",
    ],
)
async def test_all_forms(reply: str) -> None:
    """Of older servers, and of those that add the domain and the account."""
    pulled = _read_pulled(message(reply))
    assert pulled is not None
    assert (pulled.delivered, pulled.stream_seq, pulled.pending) == (2, 17, 3)
    assert pulled.stored_ns == 1_700_000_000_000_000_000
    assert pulled.reply == reply


@given(st.lists(st.sampled_from(["$JS", "ACK", "a", "1", "", "-", "é"]), max_size=14))
async def test_anything_else_is_no_message_of_a_stream(tokens: list[str]) -> None:
    """Nothing that somebody sends to the inbox ends the pulling."""
    pulled = _read_pulled(message(".".join(tokens)))
    assert pulled is None or tokens[:2] == ["$JS", "ACK"]
