"""What a server, a stream and a consumer have to be, so that no event is lost or out of order.

Pure: it takes what JetStream says, and returns what is wrong with it in words.
"""

from collections.abc import Iterator

import msgspec

from relay.nats.jetstream import ConsumerConfig, ConsumerInfo, StreamConfig, StreamInfo
from relay.nats.puller import MIN_BATCH_BYTES, PINNED
from relay.nats.server_info import ServerInfo
from relay.nats.subjects import ALL_EVENTS

MIN_SERVER = (2, 11, 0)
"""The first version with ``pinned_client`` (its release notes)."""
MIN_WINDOW_S = 120
"""nats-server's default of ``duplicate_window``; a shorter one misses what is sent again."""
MIN_ACK_WAIT_S, MAX_ACK_WAIT_S = 2, 60
"""Our own bounds: a commit takes milliseconds, or a second on a slow disk. After a hub's end the
next one waits that long."""
MIN_MESSAGE_BYTES = 64 * 1024
"""An event with what a route includes has about 50 KiB at most, apart from labels."""
MIN_WAITING = 8
"""Our own bound for requests that wait: a hub has one, and a standby and a restart add theirs."""


class Finding(msgspec.Struct, frozen=True):
    """Something that is not as it should be."""

    text: str
    """What it is, and what to do: the end of a sentence about the stream or the consumer."""
    is_error: bool = True
    """Whether events may be lost or out of order; else it is only worse than it could be."""


SYNC_UNKNOWN = (
    "whether the servers write each message to disk before they confirm it (sync_interval: always) "
    "cannot be asked here"
)
"""JetStream's API does not say it; see `relay.nats.disk_sync`."""


def find_server_faults(server: ServerInfo) -> Iterator[Finding]:
    """Yield what is wrong with a server."""
    if server.version_tuple < MIN_SERVER:
        yield Finding(
            f"the server is nats-server {server.version or 'of an unknown version'}: relay needs "
            "2.11 or newer, since older ones cannot give all messages to one of two hubs"
        )


def find_stream_faults(info: StreamInfo) -> Iterator[Finding]:
    """Yield what is wrong with a stream."""
    config = info.config
    name = f"the stream {config.name}"
    yield from _find_loss(config, name)
    if not any(covers(subject, ALL_EVENTS) for subject in config.subjects):
        yield Finding(f"{name} does not take {ALL_EVENTS}: add it to its subjects")
    if config.subject_transform:
        yield Finding(
            f"{name} changes subjects (subject_transform), from which relay reads who sent an "
            "event: remove it"
        )
    if config.no_ack:
        yield Finding(f"{name} does not say what it has stored (no_ack): set it to false")
    if config.mirror or config.sealed:
        yield Finding(f"{name} takes no messages: it is a mirror, or sealed")
    if info.cluster is not None and info.cluster.name and config.num_replicas == 1:
        yield Finding(
            f"{name} is on one server of the cluster {info.cluster.name} only, and away when that "
            "is (num_replicas 1): 3 is better",
            is_error=False,
        )
    if 0 < config.duplicate_window < MIN_WINDOW_S * 10**9:
        seconds = config.duplicate_window / 1e9
        yield Finding(
            f"{name} knows a repeated message for {seconds:g} s only (duplicate_window): 10m is "
            "better",
            is_error=False,
        )
    if 0 <= config.max_msg_size < MIN_MESSAGE_BYTES:
        yield Finding(
            f"{name} takes no message of more than {config.max_msg_size} bytes (max_msg_size), so "
            "long events become dead letters: set it to -1",
            is_error=False,
        )


def _find_loss(config: StreamConfig, name: str) -> Iterator[Finding]:
    """Yield what makes a stream lose messages, or never have room again."""
    if config.retention == "limits":
        yield Finding(
            f"{name} keeps messages that were acknowledged (retention limits), so it becomes full "
            "and stays so: make it anew with retention workqueue"
        )
    if config.discard != "new":
        yield Finding(
            f"{name} drops the oldest messages when it is full (discard {config.discard}): set "
            "discard to new"
        )
    if config.max_age > 0:
        yield Finding(
            f"{name} drops messages after {config.max_age / 1e9:g} s although nobody has read them "
            "(max_age): set it to 0"
        )
    if config.max_msgs_per_subject > 0:
        yield Finding(
            f"{name} keeps {config.max_msgs_per_subject} messages of each subject "
            "(max_msgs_per_subject): set it to -1"
        )
    if config.storage != "file":
        yield Finding(f"{name} keeps messages in memory: make it anew with storage file")
    if config.max_bytes <= 0:
        yield Finding(
            f"{name} may fill the disks of its servers: give it max_bytes", is_error=False
        )


def find_consumer_faults(info: ConsumerInfo, batch: int) -> Iterator[Finding]:
    """Yield what is wrong with a consumer, from which a hub asks for ``batch`` messages."""
    config = info.config
    name = f"the consumer {info.name}"
    if config.deliver_subject:
        yield Finding(f"{name} is a push consumer: relay needs a pull consumer")
        return
    yield from _find_wrong_delivery(config, info.paused, name)
    yield from _find_request_limits(config, batch, name)
    yield from _find_pin_faults(config, name)


def _find_wrong_delivery(config: ConsumerConfig, paused: bool, name: str) -> Iterator[Finding]:
    """Yield what makes a consumer leave messages out."""
    if config.ack_policy != "explicit":
        yield Finding(
            f"{name} does not wait until a hub has stored a message (ack_policy "
            f"{config.ack_policy}): set it to explicit"
        )
    if config.max_deliver > 0:
        yield Finding(
            f"{name} gives a message up after {config.max_deliver} deliveries (max_deliver), and "
            "nobody learns of it: set it to -1"
        )
    if config.deliver_policy != "all":
        yield Finding(
            f"{name} leaves out messages from before (deliver_policy {config.deliver_policy}): "
            "make it anew with all"
        )
    filters = [*(config.filter_subjects or ()), *filter(None, [config.filter_subject])]
    if filters and not any(covers(subject, ALL_EVENTS) for subject in filters):
        yield Finding(
            f"{name} delivers only {', '.join(filters)[:200]}: the other events stay in the stream "
            "(filter_subject)",
            is_error=False,
        )
    if config.headers_only:
        yield Finding(f"{name} delivers no bodies (headers_only): set it to false")
    if config.replay_policy != "instant":
        yield Finding(f"{name} delays messages (replay_policy): set it to instant")
    if config.inactive_threshold > 0:
        yield Finding(
            f"{name} is deleted if no hub asks for {config.inactive_threshold / 1e9:g} s "
            "(inactive_threshold): set it to 0"
        )
    if config.mem_storage:
        yield Finding(f"{name} forgets what was acknowledged (mem_storage): set it to false")
    if paused:
        yield Finding(f"{name} is paused until {config.pause_until or 'somebody resumes it'}")


def _find_request_limits(config: ConsumerConfig, batch: int, name: str) -> Iterator[Finding]:
    """Yield limits because of which a server refuses what a hub asks for."""
    if 0 < config.max_batch < batch:
        yield Finding(
            f"{name} gives at most {config.max_batch} messages at a time (max_batch), and the "
            f"engine's 'batch' is {batch}: make them equal"
        )
    if 0 < config.max_bytes < MIN_BATCH_BYTES:
        yield Finding(
            f"{name} gives at most {config.max_bytes} bytes at a time (max_bytes): set it to 0"
        )
    if 0 < config.max_expires < 30 * 10**9:
        yield Finding(
            f"{name} lets no request wait for more than {config.max_expires / 1e9:g} s "
            "(max_expires): set it to 0"
        )
    if 0 < config.max_waiting < MIN_WAITING:
        yield Finding(
            f"{name} lets {config.max_waiting} requests wait (max_waiting): set it to 512",
            is_error=False,
        )
    if 0 < config.max_ack_pending < batch:
        yield Finding(
            f"{name} delivers {config.max_ack_pending} messages before it waits for "
            f"acknowledgements (max_ack_pending), fewer than a 'batch' of {batch}: set it to 1000",
            is_error=False,
        )


def _find_pin_faults(config: ConsumerConfig, name: str) -> Iterator[Finding]:
    """Yield what mixes up the order when one hub takes over from another."""
    ack_wait_s, pin_s = config.ack_wait / 1e9, config.priority_timeout / 1e9
    if config.priority_policy != PINNED:
        yield Finding(
            f"{name} gives messages to all hubs that ask, so a second hub would mix up their "
            "order: set priority_policy to pinned_client before you start one",
            is_error=False,
        )
    elif 0 < pin_s <= ack_wait_s:
        yield Finding(
            f"{name} has another hub take over after {pin_s:g} s (priority_timeout), before it "
            f"delivers again what the first one left ({ack_wait_s:g} s, ack_wait), so newer "
            "messages come first: make priority_timeout twice ack_wait"
        )
    if config.backoff:
        yield Finding(f"{name} has a 'backoff', which replaces ack_wait: remove it", is_error=False)
    elif not MIN_ACK_WAIT_S <= ack_wait_s <= MAX_ACK_WAIT_S:
        what = (
            "while the hub may still be storing it"
            if ack_wait_s < MIN_ACK_WAIT_S
            else "long after its hub has ended"
        )
        yield Finding(
            f"{name} delivers a message again after {ack_wait_s:g} s (ack_wait), {what}: 5s is "
            "better",
            is_error=False,
        )


def covers(pattern: str, subject: str) -> bool:
    """Whether a pattern of subjects includes all that another one does."""
    pattern_parts, parts = pattern.split("."), subject.split(".")
    for at, part in enumerate(pattern_parts):
        if part == ">":
            return len(parts) > at
        if at >= len(parts) or parts[at] == ">" or part not in ("*", parts[at]):
            return False
    return len(pattern_parts) == len(parts)
