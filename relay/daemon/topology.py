"""A topology: a configuration whose resources are ready, so that applying it cannot fail.

Everything that takes time or can fail is done while a topology is built: routes are compiled, files
are read, TLS contexts are created, clients and the admin listener are opened. None of it is in
force until the supervisor applies the topology. If building fails, what was opened is closed again,
and nothing has changed. A topology ends when it is applied: from then on the runners own its parts.
"""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from importlib import import_module

import msgspec

from relay.admin.listener import ActiveListener, ListenerSwitch
from relay.config import Config, DestinationConfig, Renderer
from relay.core.errors import RelayError
from relay.core.zone import TimeZone
from relay.delivery.client import ConsoleOutput, make_renderer, open_client
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.runner import Attachment, DestinationRunner
from relay.incidents.policy import Policies, build_policies
from relay.ingest.docker.engine.endpoint import resolve_endpoints
from relay.ingest.docker.session import EngineSpec
from relay.ingest.docker.stream import ReconnectPolicy
from relay.ingest.source import SourceSpec
from relay.routing.router import Router

ClientFactory = Callable[[RateLimiter], Attachment]
"""Attaches an open client to its rate limiter. The limiter may be shared with other destinations of
the new topology, so the client gets it only when the topology is applied."""


class TopologyInputs(msgspec.Struct, frozen=True):
    """The part of a topology that needs the disk, or that takes long."""

    router: Router
    policies: Policies
    engine_specs: Mapping[str, SourceSpec]
    """For every engine."""
    certificates: Mapping[str, tuple[bytes, ...]]
    """For every destination; see `relay.delivery.runner.Attachment`."""


class Topology(msgspec.Struct, frozen=True):
    """A configuration that is ready to be applied."""

    config: Config
    router: Router
    policies: Policies
    engine_specs: Mapping[str, SourceSpec]
    """For every engine."""
    new_clients: Mapping[str, ClientFactory]
    """For the destinations that are new or have changed."""
    new_renderers: Mapping[str, Renderer]
    """For unchanged destinations whose renderer shows titles of routes, which may have changed; for
    all if the time zone has changed."""
    new_listener: ActiveListener | None
    """See `ListenerSwitch.prepare`."""


class RestartRequired(RelayError):
    """The new configuration changes something that only a restart can change."""


def check_reloadable(before: Config, after: Config) -> None:
    """Raise `RestartRequired` if the new configuration names another store."""
    if before.store.path != after.store.path:
        raise RestartRequired(
            "store.path: relay cannot change its store while it runs: restart relay"
        )


def load_inputs(
    config: Config, environ: Mapping[str, str], reconnect_policy: ReconnectPolicy
) -> TopologyInputs:
    """Compile the routes and read the files. Raises `EndpointError`; may wait for a disk."""
    if config.admin is not None:
        import_module("relay.admin.http")  # here, so that a reload imports it beside the events
    engine_specs = _make_engine_specs(config, environ, reconnect_policy)
    certificates = {
        name: _read_certificates(destination) for name, destination in config.destinations.items()
    }
    return TopologyInputs(Router(config.routes), build_policies(config), engine_specs, certificates)


async def build_topology(
    before: Config,
    config: Config,
    inputs: TopologyInputs,
    runners: Mapping[str, DestinationRunner],
    listener: ListenerSwitch,
    console: ConsoleOutput,
) -> Topology:
    """Open what the configuration needs beyond the destinations and the listener that exist.

    ``before`` is the configuration of the ``runners``.

    Raises `TlsError` if a destination's certificates cannot be used, and `AdminListenerError`; what
    was opened before that is closed again.
    """
    new_clients: dict[str, ClientFactory] = {}
    zone, is_other_zone = TimeZone(config.time_zone), before.time_zone != config.time_zone
    async with AsyncExitStack() as guard:
        for name, destination in config.destinations.items():
            runner, certificates = runners.get(name), inputs.certificates[name]
            attachment = None if runner is None else runner.attachment
            if (
                attachment is not None
                and attachment.client.destination == destination
                and attachment.certificates == certificates
            ):
                continue
            connections = await guard.enter_async_context(AsyncExitStack())
            counters = None if runner is None else runner.counters
            opening = open_client(name, destination, config.routes, console, counters, zone=zone)
            client = await connections.enter_async_context(opening)
            new_clients[name] = partial(Attachment, client, connections, certificates)
        new_renderers = {
            name: make_renderer(
                name, destination, config.routes, console, runners[name].counters, zone=zone
            )
            for name, destination in config.destinations.items()
            if name not in new_clients and (destination.uses_route_texts or is_other_zone)
        }
        new_listener = await listener.prepare(config.admin, guard)
        guard.pop_all()  # nothing can fail any more, so what was opened stays open
    return Topology(
        config,
        inputs.router,
        inputs.policies,
        inputs.engine_specs,
        new_clients,
        new_renderers,
        new_listener,
    )


def _make_engine_specs(
    config: Config, environ: Mapping[str, str], reconnect_policy: ReconnectPolicy
) -> dict[str, SourceSpec]:
    """Return what each type of engine needs to be read. Raises `EndpointError`."""
    buffer, reconcile = config.ingest.buffer, config.reconcile
    endpoints = resolve_endpoints(config.docker_engines, environ)
    specs: dict[str, SourceSpec] = {
        name: EngineSpec(endpoints[name], engine, buffer, reconcile, reconnect_policy)
        for name, engine in config.docker_engines.items()
    }
    if config.nats_engines:
        from relay.ingest.nats.session import NatsSpec  # noqa: PLC0415 - a hub alone needs it

        specs |= {name: NatsSpec(engine) for name, engine in config.nats_engines.items()}
    return specs


def _read_certificates(destination: DestinationConfig) -> tuple[bytes, ...]:
    """Return the contents of the TLS files, so that a change to one of them is noticed.

    Empty if one cannot be read: opening the client reports why.
    """
    tls = destination.tls_config
    if tls is None:
        return ()
    files = (tls.ca_file, tls.cert_file, tls.key_file)
    try:
        return tuple(file.read_bytes() for file in files if file is not None)
    except OSError:
        return ()
