"""Tries to reach what a configuration names: every engine, and the server of every destination.

Nothing is sent to a destination: relay opens the connection, makes the TLS handshake, and closes
the connection. An engine is asked what it is, as before each stream.
"""

import asyncio
import time
from collections.abc import Coroutine, Mapping

import msgspec
from yarl import URL

from relay.config import Config
from relay.delivery.http.message import parse_origin
from relay.delivery.http.pool import ConnectionPool
from relay.delivery.http.response import classify_error
from relay.delivery.http.tls import ClientTls
from relay.destinations.common.webhook import WebhookDestination
from relay.ingest.docker.engine.client import connect
from relay.ingest.docker.engine.endpoint import Endpoint
from relay.ingest.docker.engine.errors import ENGINE_ERRORS, describe_error

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


async def reach_all(config: Config, endpoints: Mapping[str, Endpoint]) -> list[ConnectionResult]:
    """Try to connect to everything, and return the results in the order of the configuration."""
    slots = asyncio.Semaphore(MAX_CONCURRENT)
    attempts = [_reach_engine(name, endpoint) for name, endpoint in endpoints.items()]
    attempts += [
        _reach_destination(name, destination)
        for name, destination in config.destinations.items()
        if isinstance(destination, WebhookDestination)
    ]

    async def in_turn(attempt: Coroutine[None, None, ConnectionResult]) -> ConnectionResult:
        async with slots:
            return await attempt

    return await asyncio.gather(*map(in_turn, attempts))


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


async def _reach_destination(name: str, destination: WebhookDestination) -> ConnectionResult:
    """Connect to the destination's server or, if there is one, to its proxy."""
    name, proxy = f"destination {name}", destination.proxy
    text = destination.endpoint if proxy is None else proxy.get_secret_value()
    timeout = destination.timeout
    pool = ConnectionPool(
        ClientTls(destination.tls), timeout.connect.total_seconds(), max_body_bytes=0
    )
    try:
        origin = parse_origin(text)
        deadline_s = asyncio.get_running_loop().time() + timeout.total.total_seconds()
        connection = await pool.connect(origin, deadline_s)
        connection.close()
    except (OSError, ValueError) as error:
        _, reason = classify_error(error, timeout)
        return ConnectionResult(name, reason, is_reached=False)
    url = URL(text)
    what = f"{url.scheme}://{url.host_port_subcomponent}"
    if proxy is not None:
        return ConnectionResult(
            name, f"its proxy is reached ({what}); what is beyond it is not tried", is_reached=True
        )
    return ConnectionResult(name, f"reached ({what})", is_reached=True)
