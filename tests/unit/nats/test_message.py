"""How an event is sent from one relay to another."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.core.event import Actor, Cause, Event, Origin
from relay.core.include import Included
from relay.core.text import ELLIPSIS
from relay.nats.message import (
    MAX_BYTES,
    MAX_DEPTH,
    SentEvent,
    UnreadableMessage,
    decode_event,
    encode_event,
    message_headers,
    message_id,
)

DIED = Event(
    id="evt_" + "0a" * 16,
    engine="local",
    host="docker-1",
    type="container",
    action="die",
    detail=None,
    scope="local",
    time_ns=1_700_000_000_123_456_789,
    actor=Actor(id="c1", name="web", image="nginx", attributes={"exitCode": "3"}),
    cause=Cause.CRASHED,
    exit_code=3,
    origin=Origin.REPLAYED,
    interactive=True,
    ran_ns=5,
)
LOGS = Included(logs=("one", "two"), health="bad", inspect={"State.Pid": 7})

texts = st.text(max_size=40)


def _edit(**changes: Any) -> bytes:
    """Return a message in which the event says something else."""
    document = json.loads(encode_event("web-17", DIED))
    document["data"]["event"].update(changes)
    return json.dumps(document).encode()


def test_an_event_arrives_as_it_was_sent() -> None:
    """Everything that the sender knows of the event is known at the hub, and what it included."""
    sent = decode_event(encode_event("web-17", DIED, LOGS), host="web-17", via="fleet")
    assert sent == SentEvent(replace(DIED, host="web-17", via="fleet"), LOGS)


def test_the_sender_is_known_from_the_subject_alone() -> None:
    """A host that claims in the message to be another one is shown as itself."""
    body = _edit(host="db-1", via="other")
    event = decode_event(body, host="web-17", via="fleet").event
    assert (event.host, event.via) == ("web-17", "fleet")


def test_it_is_a_cloudevent() -> None:
    """Other programs read it as a CloudEvent, whose source names host and engine."""
    document = json.loads(encode_event("web-17", DIED, LOGS))
    assert document["specversion"] == "1.0"
    assert document["type"] == "com.docker.container.die"
    assert document["source"] == "/hosts/web-17/engines/local"
    assert document["id"] == f"web-17:{DIED.id}"
    assert document["time"] == "2023-11-14T22:13:20.123456789Z"
    assert message_headers("web-17", DIED)["Content-Type"] == "application/cloudevents+json"


def test_the_same_event_has_one_message_id() -> None:
    """The id of the message is that of event and host; three managers of a swarm share theirs."""
    assert message_id("web-17", DIED) == f"web-17:{DIED.id}"
    assert message_id("m1", replace(DIED, scope="swarm")) == DIED.id


@given(st.dictionaries(texts, st.text(max_size=3_000), max_size=40), st.integers(8_192, 40_000))
def test_a_long_event_loses_attributes_and_no_more(
    attributes: Mapping[str, str], max_bytes: int
) -> None:
    """It fits, has the first attributes as they were, and says how many are left out."""
    event = replace(DIED, actor=replace(DIED.actor, attributes=attributes))
    body = encode_event("web-17", event, max_bytes=max_bytes)
    assert len(body) <= max_bytes
    got = decode_event(body, host="web-17", via="fleet").event
    kept = dict(got.actor.attributes)
    if len(attributes) > len(kept) or kept != dict(attributes):
        left_out = int(kept.pop(ELLIPSIS))
        assert list(kept.items()) == list(attributes.items())[: len(kept)]
        assert left_out == len(attributes) - len(kept)
    assert replace(got, actor=DIED.actor, host=DIED.host, via=None) == DIED


def test_long_logs_lose_their_first_lines() -> None:
    """The last lines say most; what is missing is said."""
    logs = tuple(f"{number} {'x' * 1000}" for number in range(100))
    body = encode_event("web-17", DIED, Included(logs=logs), max_bytes=20_000)
    assert len(body) <= 20_000
    included = decode_event(body, host="web-17", via="fleet").included
    assert included is not None
    assert included.logs
    assert included.logs == logs[-len(included.logs) :]
    assert included.missing == "too long to be sent to the hub"


def test_an_event_with_names_of_a_megabyte_is_sent() -> None:
    """Whatever a container is called, its death is sent."""
    long = "n" * MAX_BYTES
    actor = Actor(id=long, name=long, image=long, attributes={long: long})
    event = replace(DIED, engine="local", detail=long, health=long, action=long, actor=actor)
    body = encode_event("web-17", event, max_bytes=8_192)
    assert len(body) <= 8_192
    assert decode_event(body, host="web-17", via="fleet").event.id == DIED.id


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is not the event"),
        (b"\xff\xfe", "is not the event"),
        (b"[" * 100_000, "is not the event"),
        (b"{}", "missing required field `data`"),
        (b'{"data": {"version": 1}}', "missing required field `event`"),
        (_edit(id="evt_1"), "the id of the event is none"),
        (_edit(id="x" * 36), "the id of the event is none"),
        (_edit(time_ns=-1), "the time of the event is none"),
        (_edit(time_ns=2**63), "the time of the event is none"),
        (_edit(exit_code=2**70), "is not the event"),
        (_edit(action=""), "has no type or no action"),
        (_edit(engine=""), "the name of its engine is none"),
        (_edit(engine="a b"), "the name of its engine is none"),
        (_edit(engine="e" * 65), "the name of its engine is none"),
        (_edit(actor=None), "Expected `object`"),
        (_edit(cause="bored"), "Invalid enum value"),
        (b" " * (MAX_BYTES + 1), "relay reads 1048576"),
    ],
)
def test_what_is_not_an_event_is_refused_with_words(body: bytes, words: str) -> None:
    """Nothing odd comes in, and people learn what was odd."""
    with pytest.raises(UnreadableMessage, match=words.replace("[", "\\[")):
        decode_event(body, host="web-17", via="fleet")


def test_a_newer_version_says_what_to_do() -> None:
    """A hub that is older than its hosts says so."""
    document = json.loads(encode_event("web-17", DIED))
    document["data"]["version"] = 2
    with pytest.raises(UnreadableMessage, match="update the older relay"):
        decode_event(json.dumps(document).encode(), host="web-17", via="fleet")


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    """Whatever comes, the hub goes on."""
    with pytest.raises(UnreadableMessage):
        decode_event(body, host="web-17", via="fleet")


def test_unknown_keys_are_left_alone() -> None:
    """A later relay may say more than this one reads."""
    document = msgspec.json.decode(encode_event("web-17", DIED))
    document["data"]["event"]["later"] = 1
    document["data"]["more"] = 1
    body = msgspec.json.encode(document)
    assert decode_event(body, host="web-17", via="fleet").event.id == DIED.id


@pytest.mark.parametrize("brackets", ["[]", ('{"a":', "}")])
def test_what_is_nested_too_deeply_is_refused(brackets: tuple[str, str]) -> None:
    """Others have less of the stack to read it."""
    begin, end = brackets
    plain = encode_event("web-1", DIED, Included(inspect={"State": "deep"}))

    def nest(levels: int) -> bytes:
        return plain.replace(b'"deep"', (begin * levels + "1" + end * levels).encode())

    included = decode_event(nest(MAX_DEPTH - 1), host="web-1", via="fleet").included
    assert included is not None
    for levels in (MAX_DEPTH, 900, 100_000):
        with pytest.raises(UnreadableMessage, match=r"levels|recursion"):
            decode_event(nest(levels), host="web-1", via="fleet")
