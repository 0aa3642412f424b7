"""``relay check``."""

import os
from datetime import timedelta
from pathlib import Path

import click
from yarl import URL

from relay.cli.options import config_option, find, read
from relay.cli.tables import span
from relay.config import Config, ConsoleDestination, Destination
from relay.core.event import HEARTBEAT
from relay.core.notification import Include
from relay.daemon.self_events import own
from relay.delivery.http.tls import trust
from relay.ingest.docker.engine.endpoint import endpoints
from relay.routing.router import Router
from relay.store.database import store_path


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@config_option
def check(file: Path | None, chosen: Path | None) -> None:
    """Validate a configuration and print what listens where and which route goes where.

    Every problem is printed with its line, and the exit code is 2.
    """
    if file is not None and chosen is not None:
        raise click.UsageError("give the file once: as FILE or with --config")
    found = find(file or chosen)
    config = read(file or chosen)
    for to in config.destinations.values():
        if not isinstance(to, ConsoleDestination):
            trust(to.tls)  # raises what would end `relay run`
    for line in describe(config, found):
        click.echo(line)


def describe(config: Config, file: Path | None) -> list[str]:
    """The configuration in plain words, without its secrets."""
    store = (
        "memory (there is no configuration file)"
        if file is None
        else store_path(config.store.path, file.parent, os.environ)
    )
    return [
        f"configuration {file or '(built in)'} is valid",
        f"store {store}",
        *_admin(config),
        "",
        "engines",
        *_engines(config),
        "",
        "destinations",
        *(f"  {name}: {_place(to)}" for name, to in config.destinations.items()),
        "",
        "routes",
        *_routes(config),
        *_heartbeat(config),
    ]


def _admin(config: Config) -> list[str]:
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


def _engines(config: Config) -> list[str]:
    places = endpoints(config.engines, os.environ)
    return [f"  {name}: {place}" for name, place in places.items()]


def _place(destination: Destination) -> str:
    """A destination without what may be secret of it: the path and query of a webhook are."""
    if isinstance(destination, ConsoleDestination):
        return "console"
    url = URL(destination.url.get_secret_value())
    return f"{destination.type} {url.origin()}/…"


def _routes(config: Config) -> list[str]:
    return [
        f"  {route.name} → {'(dropped)' if route.drop else ', '.join(route.to)}"
        + _included(route.include.wanted)
        + (" (the walk ends here)" if route.stop else "")
        for route in config.routes
    ]


def _heartbeat(config: Config) -> list[str]:
    if config.heartbeat is None:
        return []
    steps = Router(config.routes).route(own(HEARTBEAT, {}))
    ways = [f"  {step.route.name} → {', '.join(step.destinations)}" for step in steps]
    length = span(config.heartbeat.every // timedelta(microseconds=1) * 1000)
    nowhere = "  nowhere: no route takes it (match: {type: relay, action: heartbeat})"
    return ["", f"heartbeat every {length}", *(ways or [nowhere])]


def _included(include: Include | None) -> str:
    if include is None:
        return ""
    logs = [f"{include.logs} log lines"] if include.logs else []
    health = ["health"] if include.health else []
    return f" with {', '.join((*logs, *health, *include.inspect))}"
