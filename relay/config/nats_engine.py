"""The keys of an engine of ``type: nats``: a stream to which the relays of other hosts publish."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator

from relay.config import validators
from relay.config.engine import EngineConfig
from relay.config.nats_keys import NatsKeys, NatsName
from relay.config.types import Duration, SilentAfter, WholeNumber, at_least, at_most

DEFAULT_BATCH = 256


class NatsEngineConfig(NatsKeys, EngineConfig):
    """A JetStream stream with the events of other hosts, each of which has a relay of its own."""

    type: Literal["nats"]
    stream: NatsName
    """The name of the stream. relay reads it, and never makes or changes it."""
    consumer: NatsName
    """The name of a durable pull consumer of the stream, which exists already."""
    batch: Annotated[WholeNumber, Field(ge=1, le=1000)] = DEFAULT_BATCH
    """How many messages are asked for at a time, and committed together: at most 1000."""
    remember: Annotated[Duration, at_least("1m"), at_most("7d")] = timedelta(hours=1)
    """How long the ids of events are remembered, so that a repeated one is dropped: from 1m to
    7d."""
    silent_after: SilentAfter = timedelta(minutes=5)
    """A host whose heartbeats have stopped for so long is reported as lost (``engine_lost``): at
    least 30s, or 0s for never. It has to be longer than ``heartbeat.every`` of the hosts."""

    @field_validator("type")
    @classmethod
    def _check_installed(cls, value: str) -> str:
        validators.require_package("nats", "nats")
        return value

    def __str__(self) -> str:
        return f"nats stream {self.stream}, consumer {self.consumer}, at {', '.join(self.url)}"

    @property
    def identity(self) -> str:
        """See `NatsKeys`."""
        return self.consumer
