"""The part of JetStream's API that relay uses: what streams and consumers are, and making them.

The subjects and the fields are those of the API's reference
(https://docs.nats.io/reference/reference-protocols/nats_api_reference) and of nats-server's
``server/stream.go`` and ``server/consumer.go``. Durations are in nanoseconds there.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from relay.nats.connection import NatsConnection
from relay.nats.failure import MAX_ERROR_CHARS, FailureKind, RequestError

API_TIMEOUT_S = 5.0
"""How long an answer of the API may take: nats.go's default."""

# Codes of errors: nats-server's server/errors.json.
STREAM_NOT_FOUND = 10059
CONSUMER_NOT_FOUND = 10014
STREAM_NOT_MATCH = 10060
"""The message names another stream as the expected one."""
MESSAGE_EXCEEDS_MAXIMUM = 10054
"""The message is longer than the stream's ``max_msg_size``."""
STREAM_STORE_FAILED = 10077
"""The stream cannot store a message: mostly because it is full (``maximum bytes exceeded``)."""
NO_RESOURCES = frozenset({10002, 10023, 10028, 10047})
"""An account or a server has no room left."""
NO_PEERS = 10005
"""A cluster has too few servers with room for the copies of a stream."""


class ApiError(msgspec.Struct, frozen=True):
    """What JetStream answers instead of a result."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class StreamConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """The configuration of a stream, as far as relay knows it."""

    name: str
    subjects: Sequence[str] = ()
    retention: str = "limits"
    storage: str = "file"
    discard: str = "old"
    discard_new_per_subject: bool = False
    max_msgs: int = -1
    max_msgs_per_subject: int = -1
    max_bytes: int = -1
    max_age: int = 0
    max_msg_size: int = -1
    max_consumers: int = -1
    num_replicas: int = 1
    duplicate_window: int = 0
    compression: str = "none"
    no_ack: bool = False
    sealed: bool = False
    deny_delete: bool = False
    deny_purge: bool = False
    description: str = ""
    mirror: object = None
    sources: Sequence[object] | None = None
    subject_transform: object = None
    metadata: Mapping[str, str] | None = None


class StreamState(msgspec.Struct, frozen=True):
    """What a stream holds."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0
    consumer_count: int = 0


class Peer(msgspec.Struct, frozen=True):
    """Another server with a copy of a stream."""

    name: str = ""
    current: bool = False
    offline: bool = False
    lag: int = 0


class Cluster(msgspec.Struct, frozen=True):
    """The servers with a copy of a stream."""

    name: str = ""
    leader: str = ""
    replicas: Sequence[Peer] | None = None


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream, and what it holds."""

    config: StreamConfig
    state: StreamState = StreamState()
    cluster: Cluster | None = None


class ConsumerConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """The configuration of a consumer, as far as relay knows it."""

    name: str = ""
    durable_name: str = ""
    description: str = ""
    deliver_policy: str = "all"
    deliver_subject: str = ""
    """Where a push consumer sends; empty for a pull consumer."""
    ack_policy: str = "none"
    ack_wait: int = 0
    max_deliver: int = -1
    max_ack_pending: int = 0
    max_waiting: int = 0
    max_batch: int = 0
    max_bytes: int = 0
    max_expires: int = 0
    replay_policy: str = "instant"
    filter_subject: str = ""
    filter_subjects: Sequence[str] | None = None
    backoff: Sequence[int] | None = None
    inactive_threshold: int = 0
    pause_until: str = ""
    priority_policy: str = ""
    priority_groups: Sequence[str] | None = None
    priority_timeout: int = 0
    num_replicas: int = 0
    mem_storage: bool = False
    headers_only: bool = False


class PriorityGroup(msgspec.Struct, frozen=True):
    """Which client a consumer gives its messages to."""

    group: str = ""
    pinned_client_id: str = ""


class ConsumerInfo(msgspec.Struct, frozen=True):
    """A consumer, and what it has to deliver."""

    config: ConsumerConfig
    stream_name: str = ""
    name: str = ""
    num_pending: int = 0
    """Messages that it has not delivered yet."""
    num_ack_pending: int = 0
    """Messages that were delivered and are not acknowledged yet."""
    num_redelivered: int = 0
    """Those of them that were delivered more than once."""
    num_waiting: int = 0
    """Requests for messages that it has not answered yet."""
    paused: bool = False
    priority_groups: Sequence[PriorityGroup] | None = None

    @property
    def lag(self) -> int:
        """How many messages of the stream nobody has acknowledged yet."""
        return self.num_pending + self.num_ack_pending


class PubAck(msgspec.Struct, frozen=True):
    """The answer to a message that a stream has stored."""

    stream: str
    seq: int = 0
    duplicate: bool = False
    """Whether the stream had a message of the same ``Nats-Msg-Id`` already."""
    domain: str = ""


class JetStreamError(RequestError):
    """JetStream refused a request."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(FailureKind.REFUSED, describe_api_error(error))
        self.code = error.err_code


class _ErrorAnswer(msgspec.Struct, frozen=True):
    error: ApiError | None = None


S = TypeVar("S")

_decode_error = msgspec.json.Decoder(_ErrorAnswer).decode
_encode = msgspec.json.Encoder().encode


def describe_api_error(error: ApiError) -> str:
    """Describe an error in one line, with its code."""
    text = "".join(it if it.isprintable() else " " for it in error.description)
    return f"{text[:MAX_ERROR_CHARS] or 'JetStream refused it'} ({error.err_code or error.code})"


def decode_answer(body: bytes, type_: type[S]) -> S:
    """Return the result in an answer. Raises `JetStreamError`, or `RequestError` if it is odd."""
    try:
        if (error := _decode_error(body).error) is not None:
            raise JetStreamError(error)
        return msgspec.json.decode(body, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as odd:
        text = f"the answer cannot be read: {odd}"[:MAX_ERROR_CHARS]
        raise RequestError(FailureKind.REFUSED, text) from odd


async def stream_info(connection: NatsConnection, stream: str) -> StreamInfo:
    """Return a stream and what it holds. Raises `RequestError`."""
    return await call_api(connection, f"STREAM.INFO.{stream}", StreamInfo)


async def consumer_info(connection: NatsConnection, stream: str, consumer: str) -> ConsumerInfo:
    """Return a consumer and what it has to deliver. Raises `RequestError`."""
    return await call_api(connection, f"CONSUMER.INFO.{stream}.{consumer}", ConsumerInfo)


async def create_stream(
    connection: NatsConnection, config: StreamConfig | Mapping[str, Any]
) -> StreamInfo:
    """Make a stream. Raises `RequestError`."""
    return await call_api(connection, f"STREAM.CREATE.{_get(config, 'name')}", StreamInfo, config)


async def update_stream(connection: NatsConnection, config: Mapping[str, Any]) -> StreamInfo:
    """Change a stream. A key that is left out gets its default. Raises `RequestError`."""
    return await call_api(connection, f"STREAM.UPDATE.{config['name']}", StreamInfo, config)


async def create_consumer(
    connection: NatsConnection, stream: str, config: ConsumerConfig | Mapping[str, Any]
) -> ConsumerInfo:
    """Make a durable consumer, or change it; see `update_stream`. Raises `RequestError`."""
    subject = f"CONSUMER.DURABLE.CREATE.{stream}.{_get(config, 'durable_name')}"
    request = {"stream_name": stream, "config": config}
    return await call_api(connection, subject, ConsumerInfo, request)


def _get(config: object, key: str) -> str:
    value: str = config[key] if isinstance(config, Mapping) else getattr(config, key)
    return value


async def call_api(
    connection: NatsConnection, subject: str, type_: type[S], request: Any = None
) -> S:
    """Call JetStream's API: ``subject`` is that after ``$JS.API.``. Raises `RequestError`."""
    body = b"" if request is None else _encode(request)
    answer = await connection.request(f"$JS.API.{subject}", body, timeout_s=API_TIMEOUT_S)
    return decode_answer(answer.body, type_)
