"""One session of an engine of ``type: nats``: what is published to its stream goes into the store.

What it needs is in `NatsSpec`, which opens a session of it.
"""

import msgspec

from relay.config.nats_engine import NatsEngineConfig
from relay.core.counters import EngineCounters
from relay.ingest.source import IngestContext, SourceSession


class NatsSpec(msgspec.Struct, frozen=True):
    """What the configuration says about one engine of ``type: nats``."""

    config: NatsEngineConfig

    async def open(
        self, name: str, context: IngestContext, counters: EngineCounters
    ) -> SourceSession:
        """See `relay.ingest.source.SourceSpec`."""
        raise NotImplementedError
