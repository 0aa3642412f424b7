"""Tries to reach what a configuration names: every engine, and the server of every destination.

Nothing is sent to a destination: relay opens the connection, makes the TLS handshake, and closes
the connection. An engine is asked what it is, as before each stream; one of ``type: nats`` what its
stream and its consumer are, and no message is taken.
"""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from relay.config import Config, DestinationConfig
from relay.core.tasks import import_in_thread
from relay.delivery.senders import reach
from relay.ingest.docker.engine.client import connect
from relay.ingest.docker.engine.endpoint import Endpoint
from relay.ingest.docker.engine.errors import ENGINE_ERRORS, describe_error

if TYPE_CHECKING:
    from relay.config.nats_engine import NatsEngineConfig

ENGINE_TIMEOUT_S = 15
"""How long an engine may take to be reached and to answer."""

MAX_CONCURRENT = 16
"""At most this many connections are tried at the same time."""


class ConnectionResult(msgspec.Struct, frozen=True):
    """The result of one attempt to connect."""

    name: str
    """``engine local`` or ``destination ops``."""
    text: str
    """What was reached, or why it could not be reached; without secrets."""
    is_reached: bool
    """Whether relay can work with it: it was reached, and nothing there loses events."""
    details: Sequence[str] = ()
    """What is wrong with it, a line for each."""


_Attempt = Coroutine[None, None, ConnectionResult | None]
"""The result is None if there is nothing to try."""


async def reach_all(config: Config, endpoints: Mapping[str, Endpoint]) -> list[ConnectionResult]:
    """Try to connect to everything, and return the results in the order of the configuration."""
    slots = asyncio.Semaphore(MAX_CONCURRENT)
    attempts: list[_Attempt] = [_reach_engine(*engine) for engine in endpoints.items()]
    attempts += [_reach_stream(*engine) for engine in config.nats_engines.items()]
    attempts += [_reach_destination(*destination) for destination in config.destinations.items()]

    async def in_turn(attempt: _Attempt) -> ConnectionResult | None:
        async with slots:
            return await attempt

    results = await asyncio.gather(*map(in_turn, attempts))
    return [result for result in results if result is not None]


async def _reach_engine(name: str, endpoint: Endpoint) -> ConnectionResult:
    name = f"engine {name}"
    try:
        async with asyncio.timeout(ENGINE_TIMEOUT_S), connect(endpoint, time.time_ns) as client:
            info = await client.handshake()
    except TimeoutError:
        return ConnectionResult(name, f"no answer in {ENGINE_TIMEOUT_S} s", is_reached=False)
    except ENGINE_ERRORS as error:
        return ConnectionResult(name, describe_error(error), is_reached=False)
    kind = "Podman" if info.podman else "Docker"
    return ConnectionResult(name, f"reached, {kind} with API {info.api_version}", is_reached=True)


async def _reach_stream(name: str, engine: "NatsEngineConfig") -> ConnectionResult:
    await import_in_thread("relay.nats.probe")
    from relay.nats.probe import probe_hub  # noqa: PLC0415 - only hubs need it
    from relay.nats.requirements import SYNC_UNKNOWN  # noqa: PLC0415

    probe = await probe_hub(name, engine)
    details = [
        f"{'error' if finding.is_error else 'warning'}: {finding.text}"
        for finding in probe.findings
    ]
    if probe.is_reached:
        details.append(f"note: {SYNC_UNKNOWN}: relay fleet setup --monitor does")
    return ConnectionResult(f"engine {name}", probe.text, probe.is_well, details)


async def _reach_destination(name: str, destination: DestinationConfig) -> ConnectionResult | None:
    reached = await reach(destination)
    if reached is None:
        return None
    return ConnectionResult(f"destination {name}", reached.text, reached.is_reached)
