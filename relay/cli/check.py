"""``relay check``: validates a configuration and shows what it does."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import click
from msgspec.structs import replace

from relay.admin import logs
from relay.cli.connections import ConnectionResult, reach_all
from relay.cli.options import config_option, find_config
from relay.cli.tables import format_duration
from relay.config import Config, ConfigOrigin, DestinationConfig, EngineConfig
from relay.config.errors import ConfigIssue, IssueScope
from relay.config.load import unused_variable
from relay.config.show import show
from relay.config.warnings import find_warnings
from relay.core.errors import ConfigError, Problem, RelayError
from relay.core.event import HEARTBEAT
from relay.core.incident import Audience
from relay.core.include import Include
from relay.core.text import escape_unprintable
from relay.core.tls import create_ssl_context
from relay.core.zone import TimeZone
from relay.daemon.self_events import self_event
from relay.destinations.catalog import DESTINATION_TYPES, load_located_config
from relay.incidents.policy import Policies, build_policies
from relay.incidents.policy_text import describe_policy
from relay.incidents.policy_warnings import find_policy_warnings
from relay.ingest.docker.engine.endpoint import Endpoint, resolve_endpoints
from relay.routing.router import Router
from relay.store.database import resolve_store_path

_NOWHERE = "nowhere: no route matches (match: {type: relay, action: heartbeat})"


class ConnectionsFailed(RelayError):
    """An engine or a destination of the configuration cannot be reached."""


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@config_option
@click.option("--strict", is_flag=True, help="Warnings are errors.")
@click.option(
    "--connect",
    "connects",
    is_flag=True,
    help="Also connect to the engines and destinations. Nothing is sent to a destination.",
)
@click.option(
    "--show",
    "shows",
    is_flag=True,
    help="Print the configuration itself, the built-in one too, with its secrets hidden.",
)
def check(
    file: Path | None, config_file: Path | None, strict: bool, connects: bool, shows: bool
) -> None:
    """Validate a configuration, and print its engines, destinations and routes.

    For each destination it prints whether that is notified of incidents or of events, and when.

    If anything is wrong, every problem is printed with its line, and the exit code is 2. What is
    allowed but is probably a mistake is a warning. The exit code is 1 if something cannot be
    reached with --connect.
    """
    if file is not None and config_file is not None:
        raise click.UsageError("give the file once: as FILE or with --config")
    origin = find_config(file or config_file)
    located = load_located_config(origin, os.environ)
    config = located.config
    _create_ssl_contexts(config)
    endpoints = resolve_endpoints(config.docker_engines, os.environ)
    policies = build_policies(config)
    issues = [
        *find_warnings(config, DESTINATION_TYPES),
        *find_policy_warnings(config, policies, time.time_ns()),
        *_find_engine_warnings(endpoints),
        *_find_heartbeat_warnings(config),
        *_find_silence_warnings(config),
    ]
    unused = (unused_variable(origin, name) for name in located.unused_variables)
    warnings = [*unused, *located.locate(issues)]
    if strict and warnings:
        raise ConfigError(warnings)
    if shows:
        click.echo(show(origin, DESTINATION_TYPES), nl=False)
    else:
        for line in describe_config(config, policies, origin, endpoints):
            click.echo(line)
    for warning in warnings:
        click.echo(format_warning(warning), err=True)
    if connects:
        logs.configure(sys.stderr, level="error")  # the results say all the rest
        _print_connections(asyncio.run(reach_all(config, endpoints)))


def _create_ssl_contexts(config: Config) -> None:
    """Read all TLS files. Raises the `TlsError` that would end `relay run`."""
    for destination in config.destinations.values():
        if destination.endpoint:
            create_ssl_context(destination.tls_config)
    for engine in config.engines.values():
        if engine.tls is not None:
            create_ssl_context(engine.tls)


def _find_engine_warnings(endpoints: Mapping[str, Endpoint]) -> Iterator[ConfigIssue]:
    """Yield an issue for each socket that does not exist on this machine."""
    for name, endpoint in endpoints.items():
        url = endpoint.url or ""
        if not url.startswith("unix:"):
            continue
        path = Path(url.removeprefix("unix://").removeprefix("unix:"))
        with suppress(PermissionError):  # the user who runs relay may be allowed to look
            if not path.is_socket():
                state = "is not a socket" if path.exists() else "does not exist"
                message = f"the engine's socket {state}: {str(path)!r}"
                yield ConfigIssue(("engines", name, "url"), message)


def _find_heartbeat_warnings(config: Config) -> Iterator[ConfigIssue]:
    if config.heartbeat is not None and not _heartbeat_routes(config):
        yield ConfigIssue(("heartbeat",), f"goes {_NOWHERE}", IssueScope.KEY)
    routed = Router(config.routes).route(self_event(HEARTBEAT, {}))
    told = {name for result in routed for name in result.destinations if config.heartbeat}
    for name, destination in config.destinations.items():
        if destination.audience is Audience.RELAYS and name not in told:
            message = (
                "gets no heartbeat, so the hub cannot notice that this host is silent: set "
                "'heartbeat', and send it there (match: {type: relay, action: heartbeat})"
            )
            yield ConfigIssue(("destinations", name), message, IssueScope.KEY)


def _find_silence_warnings(config: Config) -> Iterator[ConfigIssue]:
    """Yield an issue for each engine whose hosts may fall silent without anybody being notified."""
    silent = self_event("engine_lost", {})
    for name, engine in config.nats_engines.items():
        event = replace(silent, via=name)
        if engine.silent_after and not Router(config.routes).route(event):
            message = (
                "nobody is notified of a host that falls silent: no route matches "
                "(match: {type: relay, action: [engine_lost, engine_back]})"
            )
            yield ConfigIssue(("engines", name), message, IssueScope.KEY)


def _heartbeat_routes(config: Config) -> list[str]:
    """Return the routes of heartbeats, each with its destinations."""
    results = Router(config.routes).route(self_event(HEARTBEAT, {}))
    return [f"{result.route.name} → {', '.join(result.destinations)}" for result in results]


def format_warning(warning: Problem) -> str:
    """Return the line that is printed about a warning."""
    path = f"warning: {warning.path}" if warning.path else "warning"
    return str(replace(warning, path=path))


def _print_connections(results: Sequence[ConnectionResult]) -> None:
    click.echo("\nconnections")
    for result in results:
        click.echo(f"  {result.name}: {escape_unprintable(result.text)}")
        for detail in result.details:
            click.echo(f"    {escape_unprintable(detail)}")
    failed = sum(not result.is_reached for result in results)
    if failed:
        raise ConnectionsFailed(f"{failed} of {len(results)} cannot be reached or used")


def describe_config(
    config: Config, policies: Policies, origin: ConfigOrigin, endpoints: Mapping[str, Endpoint]
) -> list[str]:
    """Return the configuration in words, without its secrets; ``origin`` is where it was read."""
    names, now_ns, zone = config.destinations, time.time_ns(), TimeZone(config.time_zone)
    engines = config.engines.items()
    store = (
        resolve_store_path(config.store.path, origin.folder, os.environ)
        if origin.is_stored
        else "memory (there is no configuration file)"
    )
    return [
        f"configuration {origin.name} is valid",
        f"store {store}",
        f"time zone {config.time_zone}",
        *_admin_lines(config),
        "",
        "engines",
        *(f"  {name}: {_describe_engine(it, endpoints.get(name))}" for name, it in engines),
        "",
        "destinations",
        *(f"  {name}: {_describe_destination(to)}" for name, to in config.destinations.items()),
        "",
        "routes",
        *_route_lines(config),
        "",
        "notifications",
        *(f"  {name}: {describe_policy(policies, name, now_ns, zone)}" for name in names),
        *_label_lines(config),
        *_heartbeat_lines(config),
    ]


def _admin_lines(config: Config) -> list[str]:
    if config.admin is None:
        return []
    address = config.admin.listen
    match address.is_local, config.admin.token is not None:
        case True, False:
            access = ", without a token"
        case True, True:
            access = ", with a token for /api/"
        case _, True:
            access = ", with a token for /metrics and /api/"
        case _:
            access = ": /metrics and /api/ are refused, as there is no token (admin.token_file)"
    return [f"admin {address}{access}"]


def _describe_engine(engine: EngineConfig, endpoint: Endpoint | None) -> str:
    return str(engine if endpoint is None else endpoint)


def _describe_destination(destination: DestinationConfig) -> str:
    """Describe a destination without the path and query of its URL, which may be secret."""
    return f"{destination.type} {destination.shown_address}".rstrip()


def _route_lines(config: Config) -> list[str]:
    return [
        f"  {route.name} → {'(dropped)' if route.drop else ', '.join(route.to)}"
        + _describe_include(route.include.request)
        + (" (stop: routes below are not tried)" if route.stop else "")
        for route in config.routes
    ]


def _describe_include(include: Include | None) -> str:
    if include is None:
        return ""
    logs = [f"{include.logs} log lines"] if include.logs else []
    health = ["health"] if include.health else []
    return f" with {', '.join((*logs, *health, *include.inspect))}"


def _label_lines(config: Config) -> list[str]:
    """Return what containers decide by a label of their own, if that is not the usual."""
    if config.labels.require:
        return ["  containers: people are notified of those with the label relay.enable=true only"]
    return [] if config.labels.enable else ["  containers: their label relay.enable is ignored"]


def _heartbeat_lines(config: Config) -> list[str]:
    if config.heartbeat is None:
        return []
    interval = format_duration(config.heartbeat.every // timedelta(microseconds=1) * 1000)
    routes = _heartbeat_routes(config) or [_NOWHERE]
    return ["", f"heartbeat every {interval}", *(f"  {route}" for route in routes)]
