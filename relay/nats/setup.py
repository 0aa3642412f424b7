"""Makes the stream and the consumer of a fleet, with the account of an administrator.

The daemon makes and changes neither: its account needs no right to.
"""

from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from relay.config.nats_engine import DEFAULT_BATCH
from relay.nats.connection import NatsConnection
from relay.nats.failure import FailureKind, RequestError
from relay.nats.jetstream import (
    CONSUMER_NOT_FOUND,
    NO_PEERS,
    NO_RESOURCES,
    STREAM_NOT_FOUND,
    ConsumerInfo,
    JetStreamError,
    StreamInfo,
    call_api,
    create_consumer,
    create_stream,
    update_stream,
)
from relay.nats.puller import PINNED
from relay.nats.requirements import (
    Finding,
    covers,
    find_consumer_faults,
    find_stream_faults,
)
from relay.nats.subjects import ALL_EVENTS

SECOND_NS = 10**9
GROUP = "hub"
"""The name of the consumer's only priority group."""


class Setup(msgspec.Struct, frozen=True):
    """What an administrator wants."""

    stream: str
    consumer: str
    max_bytes: int | None = None
    """How much the stream may hold; None leaves that of a stream that is there."""
    replicas: int | None = None
    """On how many servers each message is; None likewise."""
    updates: bool = False
    """Whether what is there and differs is changed."""
    is_dry: bool = False
    """Whether nothing is made or changed."""


class Step(msgspec.Struct, frozen=True):
    """What was done about a stream or a consumer, or has to be."""

    text: str
    findings: Sequence[Finding] = ()

    @property
    def is_well(self) -> bool:
        """Whether it is as it has to be."""
        return not any(finding.is_error for finding in self.findings)


DEFAULT_MAX_BYTES = 2 * 2**30
"""A day of 1,000 hosts: 600 events of 1.4 kB and a heartbeat of 0.84 kB a minute are 2 MB for each.
A stream counts messages as they come; on the disk, compressed, they take a third."""


def wanted_stream(setup: Setup, *, is_clustered: bool) -> dict[str, Any]:
    """Return the configuration of a stream that is made. Durations are in nanoseconds."""
    return {
        "name": setup.stream,
        "description": "Events of hosts, for relay's hub",
        "subjects": [ALL_EVENTS],
        "retention": "workqueue",
        "storage": "file",
        "discard": "new",
        "max_bytes": setup.max_bytes or DEFAULT_MAX_BYTES,
        "max_age": 0,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "no_ack": False,
        "num_replicas": setup.replicas or (3 if is_clustered else 1),
        "duplicate_window": 600 * SECOND_NS,
        "compression": "s2",
    }


def wanted_consumer(setup: Setup) -> dict[str, Any]:
    """Return the configuration of a consumer that is made."""
    return {
        "durable_name": setup.consumer,
        "name": setup.consumer,
        "description": "relay's hub and its standby",
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": 5 * SECOND_NS,
        "max_deliver": -1,
        "max_ack_pending": 1000,
        "replay_policy": "instant",
        "priority_policy": PINNED,
        "priority_groups": [GROUP],
        "priority_timeout": 10 * SECOND_NS,
        "headers_only": False,
        "inactive_threshold": 0,
        "max_batch": 0,
        "max_bytes": 0,
        "max_expires": 0,
        "mem_storage": False,
        "backoff": None,
    }


async def set_up(connection: NatsConnection, setup: Setup) -> list[Step]:
    """Make what is missing, and compare what is there. Raises `RequestError`."""
    stream = await _set_up_stream(connection, setup)
    try:
        return [stream, await _set_up_consumer(connection, setup)]
    except JetStreamError as error:
        if setup.is_dry and error.code == STREAM_NOT_FOUND:
            return [stream, Step(f"consumer {setup.consumer}: would be made")]
        raise


async def _set_up_stream(connection: NatsConnection, setup: Setup) -> Step:
    name = f"stream {setup.stream}"
    wanted = wanted_stream(setup, is_clustered=bool(connection.server.cluster))
    found = await _find(connection, f"STREAM.INFO.{setup.stream}", STREAM_NOT_FOUND)
    if found is None:
        if setup.is_dry:
            return Step(f"{name}: would be made: {_describe_stream(wanted)}")
        await _change(create_stream(connection, wanted), f"{name} cannot be made")
        return Step(f"{name}: made: {_describe_stream(wanted)}")
    info = msgspec.convert(found, StreamInfo)
    options = {"max_bytes": setup.max_bytes, "num_replicas": setup.replicas}
    asked = {key: value for key, value in options.items() if value is not None}
    wanted = _respect_choices(wanted, info)
    changes = _find_changes(found["config"], wanted, (*_STREAM_KEYS, *asked))
    if not changes:
        text = f"{name}: is there: {_describe_stream(found['config'])}"
        return Step(text, list(find_stream_faults(info)))
    if setup.updates and not setup.is_dry:
        body = {**found["config"], **changes}
        await _change(update_stream(connection, body), f"{name} cannot be changed", _ANEW)
        return Step(f"{name}: changed: {_describe_changes(found['config'], changes)}")
    findings = _advise(find_stream_faults(info), is_asked=not asked.keys().isdisjoint(changes))
    return Step(_differs(name, found["config"], changes), findings)


async def _set_up_consumer(connection: NatsConnection, setup: Setup) -> Step:
    name = f"consumer {setup.consumer}"
    wanted = wanted_consumer(setup)
    path = f"{setup.stream}.{setup.consumer}"
    found = await _find(connection, f"CONSUMER.INFO.{path}", CONSUMER_NOT_FOUND)
    if found is None:
        if setup.is_dry:
            return Step(f"{name}: would be made")
        making = create_consumer(connection, setup.stream, wanted)
        await _change(making, f"{name} cannot be made")
        return Step(f"{name}: made: pinned to one hub, acknowledged within 5 s")
    info = msgspec.convert(found, ConsumerInfo)
    changes = _find_changes(found["config"], wanted, _CONSUMER_KEYS)
    faults = list(find_consumer_faults(info, DEFAULT_BATCH))
    if not changes:
        return Step(f"{name}: is there", faults)
    if setup.updates and not setup.is_dry:
        changing = create_consumer(connection, setup.stream, {**found["config"], **changes})
        await _change(changing, f"{name} cannot be changed", _ANEW)
        return Step(f"{name}: changed: {_describe_changes(found['config'], changes)}")
    return Step(_differs(name, found["config"], changes), _advise(faults, is_asked=False))


def _respect_choices(wanted: dict[str, Any], info: StreamInfo) -> dict[str, Any]:
    """Return what a stream that is there should be: others may publish to it and read it, too."""
    config = info.config
    subjects = list(config.subjects)
    if not any(covers(subject, ALL_EVENTS) for subject in subjects):
        subjects.append(ALL_EVENTS)
    retention = "interest" if config.retention == "interest" else wanted["retention"]
    return {**wanted, "subjects": subjects, "retention": retention}


_STREAM_KEYS = (
    *("subjects", "retention", "storage", "discard", "max_age", "max_msgs_per_subject"),
    *("max_msg_size", "no_ack"),
)
"""What a stream has to have; the other keys of one that is there are the administrator's choice."""
_CONSUMER_KEYS = (
    *("ack_policy", "max_deliver", "deliver_policy", "replay_policy", "ack_wait", "backoff"),
    *("priority_policy", "priority_groups", "priority_timeout", "max_ack_pending"),
    *("headers_only", "inactive_threshold", "max_batch", "max_bytes", "max_expires"),
    "mem_storage",
)


async def _find(connection: NatsConnection, subject: str, not_found: int) -> dict[str, Any] | None:
    """Return what there is, with the keys that this relay does not know; None if nothing is."""
    try:
        return await call_api(connection, subject, dict[str, Any])
    except JetStreamError as error:
        if error.code != not_found:
            raise
        return None


async def _change(work: Awaitable[object], failed: str, advice: str = "") -> None:
    """Make or change something; ``failed`` says what was not done if the server refuses."""
    try:
        await work
    except JetStreamError as error:
        if error.code in NO_RESOURCES or error.code == NO_PEERS:
            advice = ": raise max_file_store of the servers, or ask for less with --max-size"
        raise RequestError(FailureKind.REFUSED, f"{failed}: {error}{advice}") from error


_ANEW = "; make it anew when it is empty"


def _find_changes(
    found: Mapping[str, Any], wanted: Mapping[str, Any], keys: Sequence[str]
) -> dict[str, Any]:
    """Return what has to change, by key. A server leaves out what is false, 0 or nothing."""
    return {
        key: wanted[key]
        for key in keys
        if (found.get(key) or wanted[key]) and found.get(key) != wanted[key]
    }


def _differs(name: str, found: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    return f"{name}: is there and differs: {_describe_changes(found, changes)}"


def _advise(faults: Iterable[Finding], *, is_asked: bool) -> list[Finding]:
    """Return what is wrong, and how to change it; not to have done what was asked is wrong too."""
    return [*faults, Finding("--update changes it", is_error=is_asked)]


def _describe_changes(found: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {_show(key, found.get(key))} -> {_show(key, value)}"
        for key, value in changes.items()
    )


def _describe_stream(config: Mapping[str, Any]) -> str:
    copies = config.get("num_replicas", 1)
    return (
        f"{', '.join(config.get('subjects') or ())}, {config.get('retention')}, at most "
        f"{_show('max_bytes', config.get('max_bytes'))}, "
        f"{copies} {'copy' if copies == 1 else 'copies'}"
    )


def _show(key: str, value: Any) -> str:
    """Return a value as people write it."""
    if key in ("max_age", "ack_wait", "priority_timeout", "duplicate_window") and value:
        return f"{value / SECOND_NS:g}s"
    if key == "max_bytes" and isinstance(value, int) and value > 0:
        for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if value % size == 0:
                return f"{value // size} {unit}"
        return f"{value} bytes"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    if value == -1:
        return "unlimited"
    return "none" if value in (None, "") else str(value)
