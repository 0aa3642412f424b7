"""What a server, a stream and a consumer have to be."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.nats.jetstream import Cluster, ConsumerConfig, ConsumerInfo, StreamConfig, StreamInfo
from relay.nats.requirements import (
    Finding,
    covers,
    find_consumer_faults,
    find_server_faults,
    find_stream_faults,
)
from relay.nats.server_info import ServerInfo
from relay.nats.setup import Setup, wanted_consumer, wanted_stream

SECOND_NS = 10**9
WANTED = Setup("RELAY", "HUB")
STREAM = StreamConfig(**wanted_stream(WANTED, is_clustered=True))
CONSUMER = ConsumerConfig(**wanted_consumer(WANTED))


def stream_faults(**changes: Any) -> list[Finding]:
    return list(find_stream_faults(StreamInfo(replace(STREAM, **changes))))


def consumer_faults(paused: bool = False, **changes: Any) -> list[Finding]:
    info = ConsumerInfo(replace(CONSUMER, **changes), name="HUB", paused=paused)
    return list(find_consumer_faults(info, batch=256))


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


@pytest.mark.parametrize(
    ("cluster", "copies", "is_found"), [("east", 1, True), ("east", 3, False), ("", 1, False)]
)
def test_one_copy_in_a_cluster(cluster: str, copies: int, is_found: bool) -> None:
    """Only there could it have more: a single server says no name of a cluster."""
    config = replace(STREAM, num_replicas=copies)
    found = list(find_stream_faults(StreamInfo(config, cluster=Cluster(cluster))))
    assert [finding.is_error for finding in found] == [False] * is_found


def test_what_relay_makes_is_right() -> None:
    """Nothing is found wrong with it."""
    assert stream_faults() == []
    assert consumer_faults() == []


@pytest.mark.parametrize(
    ("version", "is_right"),
    [
        ("2.11.0", True),
        ("2.15.1", True),
        ("3.0.0", True),
        ("2.11.0-RC.1", True),
        ("2.10.29", False),
        ("2.9.10", False),
        ("", False),
        ("new", False),
    ],
)
def test_the_version_of_a_server(version: str, is_right: bool) -> None:
    """An older one cannot pin a hub; one that does not say its version is no newer one."""
    faults = list(find_server_faults(ServerInfo(version=version)))
    assert (not faults) is is_right
    assert all("2.11 or newer" in fault.text for fault in faults)


@pytest.mark.parametrize(
    ("changes", "words", "is_error"),
    [
        ({"retention": "limits"}, "keeps messages that were acknowledged", True),
        ({"discard": "old"}, "drops the oldest messages when it is full (discard old)", True),
        ({"max_age": 3600 * SECOND_NS}, "drops messages after 3600 s", True),
        ({"max_msgs_per_subject": 1}, "keeps 1 messages of each subject", True),
        ({"storage": "memory"}, "in memory", True),
        ({"subjects": ("relay.events.web-17.>",)}, "does not take relay.events.>", True),
        ({"subject_transform": {"src": "a", "dest": "b"}}, "changes subjects", True),
        ({"no_ack": True}, "does not say what it has stored", True),
        ({"mirror": {"name": "OTHER"}}, "takes no messages", True),
        ({"sealed": True}, "takes no messages", True),
        ({"max_bytes": -1}, "give it max_bytes", False),
        ({"duplicate_window": 100_000_000}, "for 0.1 s only", False),
        ({"max_msg_size": 1_000}, "no message of more than 1000 bytes", False),
    ],
)
def test_each_fault_of_a_stream_is_named(
    changes: dict[str, Any], words: str, is_error: bool
) -> None:
    """By itself, with what to do; what loses events is an error."""
    finding = only(stream_faults(**changes))
    assert words in finding.text
    assert "the stream RELAY" in finding.text
    assert finding.is_error is is_error


@pytest.mark.parametrize(
    ("changes", "words", "is_error"),
    [
        ({"deliver_subject": "push"}, "is a push consumer", True),
        ({"ack_policy": "none"}, "does not wait until a hub has stored", True),
        ({"ack_policy": "all"}, "(ack_policy all)", True),
        ({"max_deliver": 3}, "gives a message up after 3 deliveries", True),
        ({"deliver_policy": "new"}, "leaves out messages from before", True),
        ({"headers_only": True}, "delivers no bodies", True),
        ({"replay_policy": "original"}, "delays messages", True),
        ({"inactive_threshold": 5 * SECOND_NS}, "is deleted if no hub asks for 5 s", True),
        ({"mem_storage": True}, "forgets what was acknowledged", True),
        ({"paused": True, "pause_until": "2030-01-01T00:00:00Z"}, "is paused until 2030", True),
        ({"max_batch": 10}, "gives at most 10 messages at a time", True),
        ({"max_bytes": 1_000}, "gives at most 1000 bytes at a time", True),
        ({"max_expires": SECOND_NS}, "for more than 1 s", True),
        ({"priority_timeout": 2 * SECOND_NS}, "newer messages come first", True),
        ({"priority_timeout": 5 * SECOND_NS}, "newer messages come first", True),
        ({"priority_policy": ""}, "a second hub would mix up their order", False),
        ({"priority_policy": "overflow"}, "a second hub would mix up their order", False),
        ({"filter_subject": "relay.events.a.>"}, "delivers only relay.events.a.>", False),
        ({"filter_subjects": ("relay.events.*.x.>",)}, "delivers only", False),
        ({"max_waiting": 1}, "lets 1 requests wait", False),
        ({"max_ack_pending": 10}, "fewer than a 'batch' of 256", False),
        ({"ack_wait": SECOND_NS}, "may still be storing it", False),
        ({"ack_wait": 90 * SECOND_NS, "priority_timeout": 180 * SECOND_NS}, "long after", False),
        ({"backoff": (SECOND_NS,)}, "has a 'backoff'", False),
    ],
)
def test_each_fault_of_a_consumer_is_named(
    changes: dict[str, Any], words: str, is_error: bool
) -> None:
    """By itself, with what to do; what loses or reorders events is an error."""
    finding = only(consumer_faults(**changes))
    assert words in finding.text
    assert "the consumer HUB" in finding.text
    assert finding.is_error is is_error


@pytest.mark.parametrize(
    "changes",
    [
        {"retention": "interest"},
        {"subjects": (">",)},
        {"subjects": ("other.x", "relay.>")},
        {"max_msgs": 1_000},
        {"num_replicas": 1},
        {"compression": "none"},
    ],
)
def test_what_is_an_administrators_choice(changes: dict[str, Any]) -> None:
    """Nothing is said about it."""
    assert stream_faults(**changes) == []


parts = st.sampled_from(["a", "b", "*"])


@given(st.lists(parts, min_size=1, max_size=4), st.booleans())
def test_a_pattern_covers_itself(tokens: list[str], is_open: bool) -> None:
    """And ``>`` covers all."""
    pattern = ".".join([*tokens, ">"] if is_open else tokens)
    assert covers(pattern, pattern)
    assert covers(">", pattern)


@pytest.mark.parametrize(
    ("pattern", "subject", "is_covered"),
    [
        ("a.>", "a.b", True),
        ("a.>", "a", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*", "a.>", False),
        ("a.b", "a.*", False),
        ("a.*.c", "a.b.>", False),
        ("a.b.c", "a.b", False),
        ("*.>", "a.>", True),
    ],
)
def test_what_a_pattern_covers(pattern: str, subject: str, is_covered: bool) -> None:
    """As nats-server compares them."""
    assert covers(pattern, subject) is is_covered
