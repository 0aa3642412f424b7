"""``relay check``: validates a configuration and shows what it does."""

import os
from datetime import timedelta
from pathlib import Path

import click
from yarl import URL

from relay.cli.options import config_option, find_config, read_config
from relay.cli.tables import format_duration
from relay.config import Config, DestinationConfig
from relay.core.event import HEARTBEAT
from relay.core.notification import Include
from relay.daemon.self_events import self_event
from relay.delivery.http.tls import create_ssl_context
from relay.ingest.docker.engine.endpoint import resolve_endpoints
from relay.routing.router import Router
from relay.store.database import resolve_store_path


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@config_option
def check(file: Path | None, config_file: Path | None) -> None:
    """Validate a configuration, and print its engines, destinations and routes.

    If anything is wrong, every problem is printed with its line, and the exit code is 2.
    """
    if file is not None and config_file is not None:
        raise click.UsageError("give the file once: as FILE or with --config")
    found = find_config(file or config_file)
    config = read_config(file or config_file)
    for destination in config.destinations.values():
        if destination.endpoint:
            create_ssl_context(destination.tls_config)  # raises what would end `relay run`
    for line in describe_config(config, found):
        click.echo(line)


def describe_config(config: Config, file: Path | None) -> list[str]:
    """Return the configuration in words, without its secrets; ``file`` is where it was read."""
    store = (
        "memory (there is no configuration file)"
        if file is None
        else resolve_store_path(config.store.path, file.parent, os.environ)
    )
    endpoints = resolve_endpoints(config.engines, os.environ)
    return [
        f"configuration {file or '(built in)'} is valid",
        f"store {store}",
        *_admin_lines(config),
        "",
        "engines",
        *(f"  {name}: {endpoint}" for name, endpoint in endpoints.items()),
        "",
        "destinations",
        *(f"  {name}: {_describe_destination(to)}" for name, to in config.destinations.items()),
        "",
        "routes",
        *_route_lines(config),
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


def _describe_destination(destination: DestinationConfig) -> str:
    """Describe a destination without the path and query of its URL, which may be secret."""
    if not destination.endpoint:
        return destination.type
    return f"{destination.type} {URL(destination.endpoint).origin()}/…"


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


def _heartbeat_lines(config: Config) -> list[str]:
    if config.heartbeat is None:
        return []
    results = Router(config.routes).route(self_event(HEARTBEAT, {}))
    routes = [f"  {result.route.name} → {', '.join(result.destinations)}" for result in results]
    interval = format_duration(config.heartbeat.every // timedelta(microseconds=1) * 1000)
    nowhere = "  nowhere: no route matches (match: {type: relay, action: heartbeat})"
    return ["", f"heartbeat every {interval}", *(routes or [nowhere])]
