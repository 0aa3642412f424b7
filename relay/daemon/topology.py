"""A configuration, with all that can fail of it done and nothing of it in force yet."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from relay.admin.listener import Door, Entrance
from relay.config import Config, ConsoleDestination, Destination, Vendor
from relay.core.counters import DestinationTally
from relay.core.errors import RelayError
from relay.delivery.client import Terminal, channel, renderer_of
from relay.delivery.rate_limit import Valve
from relay.delivery.runner import Outlet, Way
from relay.destinations.catalog import Render
from relay.ingest.docker.engine.endpoint import endpoints
from relay.ingest.docker.session import Setup
from relay.routing.router import Router

Opened = Callable[[Valve], Way]
"""A way that is open, but for the valve, which others may share once the plan is in force."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to hold."""

    config: Config
    router: Router
    setups: Mapping[str, Setup]
    """Of every engine."""
    opened: Mapping[str, Opened]
    """Of the destinations that are new or changed."""
    reworded: Mapping[str, Render]
    """Of those that are what they were and are told a route's words, which may be others."""
    entrance: Entrance | None
    """See `Door.opened`."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What takes its time to find out of a configuration."""

    router: Router
    setups: Mapping[str, Setup]
    """Of every engine."""
    certificates: Mapping[str, tuple[bytes, ...]]
    """Of every destination; see `relay.delivery.runner.Way`."""


class Unreloadable(RelayError):
    """What only another start can change."""


def check_fixed(before: Config, after: Config) -> None:
    """Raises `Unreloadable` where a relay that runs would have to use another store."""
    if before.store.path != after.store.path:
        raise Unreloadable("store.path: another store takes another start: restart relay for it")


def survey(config: Config, environ: Mapping[str, str]) -> Survey:
    """Compile the routes and look at the files. Raises `EndpointError`; may wait for a disk."""
    places = endpoints(config.engines, environ)
    setups = {
        name: Setup(places[name], engine, config.ingest.buffer, config.reconcile)
        for name, engine in config.engines.items()
    }
    certificates = {name: _certificates(to) for name, to in config.destinations.items()}
    return Survey(Router(config.routes), setups, certificates)


async def prepared(
    config: Config,
    found: Survey,
    standing: Mapping[str, Outlet],
    door: Door,
    terminal: Terminal,
) -> Plan:
    """The plan of a configuration, beside the outlets that stand and the door.

    Raises `TlsError` where a destination's certificates cannot be used, and `AdminError`. What was
    opened until then is closed again.
    """
    made: dict[str, Opened] = {}
    async with AsyncExitStack() as guard:
        for name, to in config.destinations.items():
            certificates = found.certificates[name]
            if not _is_unchanged(standing.get(name), to, certificates):
                connections = await guard.enter_async_context(AsyncExitStack())
                way = channel(name, to, config.routes, terminal, _tally(standing.get(name)))
                opened = await connections.enter_async_context(way)
                made[name] = partial(Way, opened, connections, certificates)
        reworded = {
            name: renderer_of(name, to, config.routes, terminal, standing[name].tally)
            for name, to in config.destinations.items()
            if name not in made and isinstance(to, Vendor)
        }
        entrance = await door.opened(config.admin, guard)
        guard.pop_all()  # whoever adopts the plan closes them
    return Plan(config, found.router, found.setups, made, reworded, entrance)


def _is_unchanged(outlet: Outlet | None, to: Destination, certificates: tuple[bytes, ...]) -> bool:
    if outlet is None or outlet.way is None:
        return False
    return outlet.way.channel.destination == to and outlet.way.certificates == certificates


def _tally(outlet: Outlet | None) -> DestinationTally | None:
    return None if outlet is None else outlet.tally


def _certificates(to: Destination) -> tuple[bytes, ...]:
    """Empty where one cannot be read: opening the channel says why."""
    if isinstance(to, ConsoleDestination) or to.tls is None:
        return ()
    files = (to.tls.ca_file, to.tls.cert_file, to.tls.key_file)
    try:
        return tuple(file.read_bytes() for file in files if file is not None)
    except OSError:
        return ()
