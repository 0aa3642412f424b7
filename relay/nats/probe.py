"""What a hub finds if it connects: whether it may, and whether all is as it has to be."""

from collections.abc import Sequence

import msgspec

from relay.config.nats_engine import NatsEngineConfig
from relay.nats.connection import NatsConnection
from relay.nats.failure import FailureKind, RequestError
from relay.nats.jetstream import (
    CONSUMER_NOT_FOUND,
    STREAM_NOT_FOUND,
    ConsumerInfo,
    JetStreamError,
    StreamInfo,
    consumer_info,
    stream_info,
)
from relay.nats.requirements import (
    Finding,
    find_consumer_faults,
    find_server_faults,
    find_stream_faults,
)
from relay.nats.server_info import ServerInfo

CONNECT_TIMEOUT_S = 15.0
"""How long it may take until all servers of a cluster were tried."""


class Probe(msgspec.Struct, frozen=True):
    """What was found."""

    text: str
    """What was reached, or why nothing was."""
    findings: Sequence[Finding] = ()
    is_reached: bool = True

    @property
    def is_well(self) -> bool:
        """Whether a hub can work with it."""
        return self.is_reached and not any(finding.is_error for finding in self.findings)


async def probe_hub(name: str, config: NatsEngineConfig) -> Probe:
    """Connect as an engine of this name would, and ask for what it is bound to.

    No message is taken. Raises `TlsError`, and `ImportError` without the extra ``nats``.
    """
    connection = NatsConnection(f"engine {name} (check)", config)
    await connection.open()
    try:
        if not await connection.try_open(CONNECT_TIMEOUT_S):
            return Probe(connection.problem or "no answer", is_reached=False)
        return await _probe(connection, config)
    finally:
        await connection.close()


async def _probe(connection: NatsConnection, config: NatsEngineConfig) -> Probe:
    findings = list(find_server_faults(connection.server))
    try:
        consumer = await consumer_info(connection, config.stream, config.consumer)
    except RequestError as error:
        findings.append(Finding(describe_missing(error, config.stream, config.consumer)))
        return Probe(describe_server(connection.server), findings)
    findings += find_consumer_faults(consumer, config.batch)
    stream: StreamInfo | None = None
    try:
        stream = await stream_info(connection, config.stream)
        findings += find_stream_faults(stream)
    except RequestError as error:
        text = f"what the stream {config.stream} is could not be read: {error}"
        findings.append(Finding(text, is_error=False))
    return Probe(_describe(connection.server, stream, consumer), findings)


def describe_missing(error: RequestError, stream: str, consumer: str) -> str:
    """Say why a consumer could not be read, and what to do."""
    if isinstance(error, JetStreamError) and error.code in (STREAM_NOT_FOUND, CONSUMER_NOT_FOUND):
        what = (
            f"there is no stream {stream}"
            if error.code == STREAM_NOT_FOUND
            else f"the stream {stream} has no consumer {consumer}"
        )
        return f"{what}: relay fleet setup makes it"
    if error.kind is FailureKind.NO_RESPONDERS:
        return "JetStream does not answer: it is not enabled for the account, or has no leader"
    return str(error)


def describe_server(server: ServerInfo) -> str:
    """Name a server."""
    cluster = f" of cluster {server.cluster}" if server.cluster else ""
    return f"reached {server.name}{cluster}, nats-server {server.version}"


def _describe(server: ServerInfo, stream: StreamInfo | None, consumer: ConsumerInfo) -> str:
    """Say what a hub is bound to, and what waits there."""
    copies = ""
    if stream is not None:
        count = stream.config.num_replicas
        copies = f" ({count} {'copy' if count == 1 else 'copies'})"
    waits = f", {consumer.lag} messages wait" if consumer.lag else ""
    where = f"stream {consumer.stream_name}{copies}, consumer {consumer.name}"
    return f"{describe_server(server)}: {where}{waits}"
