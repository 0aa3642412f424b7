"""``relay check``."""

import os
from datetime import timedelta
from pathlib import Path

import click
from yarl import URL

from relay.cli.options import config_option, find_config, read_config
from relay.cli.tables import format_duration
from relay.config import Config, ConsoleDestination, Destination
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
def check(file: Path | None, chosen: Path | None) -> None:
    """Validate a configuration and print what listens where and which route goes where.

    Every problem is printed with its line, and the exit code is 2.
    """
    if file is not None and chosen is not None:
        raise click.UsageError("give the file once: as FILE or with --config")
    found = find_config(file or chosen)
    config = read_config(file or chosen)
    for to in config.destinations.values():
        if not isinstance(to, ConsoleDestination):
            create_ssl_context(to.tls)  # raises what would end `relay run`
    for line in describe_config(config, found):
        click.echo(line)


def describe_config(config: Config, file: Path | None) -> list[str]:
    """The configuration in plain words, without its secrets."""
    store = (
        "memory (there is no configuration file)"
        if file is None
        else resolve_store_path(config.store.path, file.parent, os.environ)
    )
    return [
        f"configuration {file or '(built in)'} is valid",
        f"store {store}",
        *_admin_lines(config),
        "",
        "engines",
        *_engine_lines(config),
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
    place = config.admin.listen
    match place.is_local, config.admin.token is not None:
        case True, False:
            said = ", without a token"
        case True, True:
            said = ", with a token for /api/"
        case _, True:
            said = ", with a token for /metrics and /api/"
        case _:
            said = ": /metrics and /api/ are refused, as there is no token (admin.token_file)"
    return [f"admin {place}{said}"]


def _engine_lines(config: Config) -> list[str]:
    places = resolve_endpoints(config.engines, os.environ)
    return [f"  {name}: {place}" for name, place in places.items()]


def _describe_destination(destination: Destination) -> str:
    """A destination without what may be secret of it: the path and query of a webhook are."""
    if isinstance(destination, ConsoleDestination):
        return "console"
    url = URL(destination.url.get_secret_value())
    return f"{destination.type} {url.origin()}/…"


def _route_lines(config: Config) -> list[str]:
    return [
        f"  {route.name} → {'(dropped)' if route.drop else ', '.join(route.to)}"
        + _describe_include(route.include.request)
        + (" (the walk ends here)" if route.stop else "")
        for route in config.routes
    ]


def _heartbeat_lines(config: Config) -> list[str]:
    if config.heartbeat is None:
        return []
    steps = Router(config.routes).route(self_event(HEARTBEAT, {}))
    ways = [f"  {step.route.name} → {', '.join(step.destinations)}" for step in steps]
    length = format_duration(config.heartbeat.every // timedelta(microseconds=1) * 1000)
    nowhere = "  nowhere: no route takes it (match: {type: relay, action: heartbeat})"
    return ["", f"heartbeat every {length}", *(ways or [nowhere])]


def _describe_include(include: Include | None) -> str:
    if include is None:
        return ""
    logs = [f"{include.logs} log lines"] if include.logs else []
    health = ["health"] if include.health else []
    return f" with {', '.join((*logs, *health, *include.inspect))}"
