"""A configuration, with all that can fail of it done and nothing of it in force yet."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from relay.admin.listener import ActiveListener, ListenerSwitch
from relay.config import Config, ConsoleDestination, Destination, ServiceDestination
from relay.core.counters import DestinationCounters
from relay.core.errors import RelayError
from relay.delivery.client import ConsoleOutput, make_renderer, open_client
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.runner import Attachment, DestinationRunner
from relay.destinations.catalog import Renderer
from relay.ingest.docker.engine.endpoint import resolve_endpoints
from relay.ingest.docker.session import EngineSpec
from relay.routing.router import Router

ClientFactory = Callable[[RateLimiter], Attachment]
"""A way that is open, but for the valve, which others may share once the plan is in force."""


@dataclass(frozen=True, slots=True)
class Topology:
    """What is to hold."""

    config: Config
    router: Router
    engine_specs: Mapping[str, EngineSpec]
    """Of every engine."""
    new_clients: Mapping[str, ClientFactory]
    """Of the destinations that are new or changed."""
    new_renderers: Mapping[str, Renderer]
    """Of those that are what they were and are told a route's words, which may be others."""
    new_listener: ActiveListener | None
    """See `ListenerSwitch.prepare`."""


@dataclass(frozen=True, slots=True)
class TopologyInputs:
    """What takes its time to find out of a configuration."""

    router: Router
    engine_specs: Mapping[str, EngineSpec]
    """Of every engine."""
    certificates: Mapping[str, tuple[bytes, ...]]
    """Of every destination; see `relay.delivery.runner.Attachment`."""


class RestartRequired(RelayError):
    """What only another start can change."""


def check_reloadable(before: Config, after: Config) -> None:
    """Raises `RestartRequired` where a relay that runs would have to use another store."""
    if before.store.path != after.store.path:
        raise RestartRequired("store.path: another store takes another start: restart relay for it")


def load_inputs(config: Config, environ: Mapping[str, str]) -> TopologyInputs:
    """Compile the routes and look at the files. Raises `EndpointError`; may wait for a disk."""
    places = resolve_endpoints(config.engines, environ)
    setups = {
        name: EngineSpec(places[name], engine, config.ingest.buffer, config.reconcile)
        for name, engine in config.engines.items()
    }
    certificates = {name: _read_certificates(to) for name, to in config.destinations.items()}
    return TopologyInputs(Router(config.routes), setups, certificates)


async def build_topology(
    config: Config,
    found: TopologyInputs,
    standing: Mapping[str, DestinationRunner],
    door: ListenerSwitch,
    terminal: ConsoleOutput,
) -> Topology:
    """The plan of a configuration, beside the outlets that stand and the door.

    Raises `TlsError` where a destination's certificates cannot be used, and `AdminListenerError`. What was
    opened until then is closed again.
    """
    made: dict[str, ClientFactory] = {}
    async with AsyncExitStack() as guard:
        for name, to in config.destinations.items():
            certificates = found.certificates[name]
            if not _is_unchanged(standing.get(name), to, certificates):
                connections = await guard.enter_async_context(AsyncExitStack())
                way = open_client(
                    name, to, config.routes, terminal, _counters_of(standing.get(name))
                )
                opened = await connections.enter_async_context(way)
                made[name] = partial(Attachment, opened, connections, certificates)
        reworded = {
            name: make_renderer(name, to, config.routes, terminal, standing[name].counters)
            for name, to in config.destinations.items()
            if name not in made and isinstance(to, ServiceDestination)
        }
        entrance = await door.prepare(config.admin, guard)
        guard.pop_all()  # whoever adopts the plan closes them
    return Topology(config, found.router, found.engine_specs, made, reworded, entrance)


def _is_unchanged(
    outlet: DestinationRunner | None, to: Destination, certificates: tuple[bytes, ...]
) -> bool:
    if outlet is None or outlet.attachment is None:
        return False
    return (
        outlet.attachment.client.destination == to
        and outlet.attachment.certificates == certificates
    )


def _counters_of(outlet: DestinationRunner | None) -> DestinationCounters | None:
    return None if outlet is None else outlet.counters


def _read_certificates(to: Destination) -> tuple[bytes, ...]:
    """Empty where one cannot be read: opening the channel says why."""
    if isinstance(to, ConsoleDestination) or to.tls is None:
        return ()
    files = (to.tls.ca_file, to.tls.cert_file, to.tls.key_file)
    try:
        return tuple(file.read_bytes() for file in files if file is not None)
    except OSError:
        return ()
