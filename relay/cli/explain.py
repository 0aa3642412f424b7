"""``relay explain``: which routes match an event, and why the others do not."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns
from typing import Any

import click
import msgspec

from relay.admin import logs
from relay.admin.client import NoDaemon, connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.admin.operation import OperationError
from relay.admin.operations import DAEMON_INFO
from relay.cli.connect import find_zone, locate_store
from relay.cli.forecast import describe_forecast, describe_incident
from relay.cli.options import (
    TimeOption,
    check_known,
    complete_engine,
    config_option,
    convert_time,
    read_config,
    resolve_time,
)
from relay.cli.silence_table import describe_silenced
from relay.config import Config
from relay.core.event import DEFAULT_ENGINE, RELAY_ENGINE, Cause, Event
from relay.core.zone import TimeZone
from relay.dryrun.forecast import find_holds, forecast
from relay.dryrun.simulator import describe_mismatch, format_event
from relay.incidents.policy import Policies, build_policies
from relay.incidents.silence import Silences
from relay.incidents.subject import subject_key
from relay.incidents.view import IncidentView
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.containers.tracker import ContainerTracker
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event
from relay.ingest.docker.engine.self_container import find_self_container, is_self_exec
from relay.routing.router import Router, RouteResult, Verdict

_EVENT_OPTIONS = ("id_", "name", "image", "labels", "attributes")
"""Options that need --action."""

_MAX_INCIDENTS = 10_000
"""More than a container can have: one at each destination."""

_MARKS = {
    Verdict.SENT: "✓",
    Verdict.ALREADY_SENT: "✓",
    Verdict.DROPPED: "✓",
    Verdict.NO_MATCH: "✗",
    Verdict.NOT_REACHED: "·",
}


@dataclass(frozen=True, slots=True)
class Present:
    """What the running relay knows of the event's subject."""

    incidents: Mapping[str, IncidentView]
    """By destination."""
    now_ns: int
    """The time of relay's clock."""
    zone: TimeZone
    """In which it writes times."""
    silences: Silences = field(default_factory=Silences)


@click.command()
@config_option
@click.option(
    "--engine",
    metavar="NAME",
    shell_complete=complete_engine,
    help="The engine that sends the event. Default: the first configured.",
)
@click.option(
    "--host",
    metavar="NAME",
    help="The host of the event. With an engine of 'type: nats', that of the relay that sends it.",
)
@click.option(
    "--type",
    "type_",
    default="container",
    show_default=True,
    help="What the event is about: container, image, network, volume, service, node, …",
)
@click.option("--action", help="For example die, oom, 'health_status: unhealthy'.")
@click.option("--id", "id_", default="", help="The id of the container, image, network, …")
@click.option("--name", help="The name of the container, image, network, …")
@click.option("--image", help="The container's image.")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="A label of the container. May be given several times.",
)
@click.option(
    "--attribute",
    "attributes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Another attribute of the event, such as exitCode=3 or signal=9. Likewise.",
)
@click.option(
    "--cause",
    type=click.Choice([cause.value for cause in Cause]),
    help="Why the container died, if that does not follow from the event alone.",
)
@click.option(
    "--at",
    metavar="TIME",
    callback=convert_time,
    help="When it happens: 23:00, or 2026-11-23 08:29. Default: now, or the time of the event.",
)
@click.option("--now", is_flag=True, help="Ask the running relay which incident the container has.")
@click.pass_context
def explain(
    context: click.Context,
    /,
    config_file: Path | None,
    action: str | None,
    now: bool,
    at: TimeOption | None,
    **options: Any,
) -> None:
    """Show for each route whether it matches an event and, if not, which condition fails first.

    For a route that matches, shows which destinations are notified at once, when the others are
    notified of the incident that the event opens, and what holds that back: `for`, a mute interval,
    a label. With --now the running relay is asked: if the container has an incident, shows since
    when, when it was reported, and what is reported next.

    Describe the event with options, or pass one JSON object on standard input: as `docker events
    --format '{{json .}}'` prints it, or as relay sends it. Exit code 1 if no route matches.
    """
    config = read_config(config_file)
    check_known("engine", options["engine"], config.engines)
    engine = options["engine"] or next(iter(config.engines))
    event = _parse_event(_read_record(action, options), engine, options["cause"])
    event = _place_event(event, engine, options["host"], config)
    zone = TimeZone(config.time_zone)
    if at is not None:
        at_ns = resolve_time("--at", at, zone, time_ns(), ahead=True)
        event = msgspec.structs.replace(event, time_ns=at_ns)
    logs.configure(sys.stderr, level="warning")
    if is_self_exec(event, find_self_container()):
        reason = "a command in relay's own container, for which relay tries no route"
        click.echo(f"{format_event(event)}: {reason}")
        context.exit(1)
    present = asyncio.run(_ask_relay(config_file, event)) if now else Present({}, 0, zone)
    results = list(Router(config.routes).explain(event))
    click.echo(format_event(event))
    width = max((len(it.route.name) for it in results), default=0)
    explanation = _Explanation(event, build_policies(config), present)
    for result in results:
        mark, name = _MARKS[result.verdict], result.route.name
        click.echo(f"{mark} {name:{width}}  {explanation.explain(result)}")
    unmatched = (Verdict.NO_MATCH, Verdict.NOT_REACHED)
    context.exit(1 if all(result.verdict in unmatched for result in results) else 0)


def _read_record(action: str | None, options: dict[str, Any]) -> bytes:
    """Return the record that options describe, or that is on standard input."""
    if action is not None:
        return _build_record(action, options)
    if sys.stdin.isatty() or any(options[key] for key in _EVENT_OPTIONS):
        raise click.UsageError(
            "give --action, or pass one event as JSON on standard input and no other options"
        )
    return sys.stdin.buffer.read()


def _build_record(action: str, options: dict[str, Any]) -> bytes:
    """Build the record that the engine would have sent."""
    pairs = (*options["labels"], *options["attributes"])
    attributes = dict(pair.partition("=")[::2] for pair in pairs)
    if "" in attributes or any("=" not in pair for pair in pairs):
        raise click.UsageError("write labels and attributes as KEY=VALUE")
    attributes |= {key: options[key] for key in ("name", "image") if options[key]}
    actor = {"ID": options["id_"], "Attributes": attributes}
    return msgspec.json.encode(
        {"Type": options["type_"], "Action": action, "Actor": actor, "timeNano": time_ns()}
    )


def _parse_event(record: bytes, engine: str, cause: str | None) -> Event:
    event = _parse_relay_event(record) or parse_event(
        record, engine=engine, host=engine, live_from_ns=0, may_be_relay=True
    )
    if isinstance(event, InvalidRecord):
        raise click.UsageError(
            f"standard input is not one event in JSON ({event.error}): "
            f"{event.head[:60].decode(errors='replace')!r}"
        )
    if cause is not None:
        return msgspec.structs.replace(event, cause=Cause(cause))
    if event.cause:
        return event
    return ContainerTracker(ContainerRegistry()).on_event(event)[-1]


def _place_event(event: Event, engine: str, host: str | None, config: Config) -> Event:
    """Return the event with its host, and at a hub with the engine that brings it."""
    if host is not None:
        event = msgspec.structs.replace(event, host=host)
    if event.engine in config.nats_engines:  # described by options: what its host calls its engine
        return msgspec.structs.replace(event, via=event.engine, engine=DEFAULT_ENGINE)
    if event.engine in (*config.docker_engines, RELAY_ENGINE) or not config.is_hub:
        return event
    via = engine if engine in config.nats_engines else next(iter(config.nats_engines))
    return msgspec.structs.replace(event, via=via)


def _parse_relay_event(record: bytes) -> Event | None:
    """Parse an event as relay's notifications hold it; None if it is none."""
    try:
        return msgspec.json.decode(record, type=Event)
    except (msgspec.DecodeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class _Explanation:
    """Puts in words what the routes make of an event."""

    event: Event
    policies: Policies
    present: Present

    def explain(self, result: RouteResult) -> str:
        """Return what a route makes of it."""
        match result.verdict:
            case Verdict.SENT:
                return f"matches {self._describe_destinations(result)}"
            case Verdict.ALREADY_SENT:
                return "matches, but routes above send it to all its destinations"
            case Verdict.DROPPED:
                return "matches and drops it"
            case Verdict.NOT_REACHED:
                return "not tried: a route above has 'stop: true' or 'drop: true'"
            case Verdict.NO_MATCH:
                assert result.failed_condition is not None
                return describe_mismatch(result.failed_condition, self.event)

    def _describe_destinations(self, result: RouteResult) -> str:
        """Return the destinations, with when and how each is notified of the event.

        As in ``→ audit at once; → ops: opens an incident (web), told in 3 s with others of shop``.
        """
        destinations = dict[str, list[str]]()
        for name in result.destinations:
            destinations.setdefault(self._describe_destination(result, name), []).append(name)
        return "; ".join(f"→ {', '.join(names)}{text}" for text, names in destinations.items())

    def _describe_destination(self, result: RouteResult, name: str) -> str:
        if not self.policies.takes_incidents(result.route.name, name):
            return " at once"
        incident = self.present.incidents.get(name)
        if incident is not None:
            present = self.present
            return f": {describe_incident(incident, self.policies, present.now_ns, present.zone)}"
        silence = self.present.silences.find(
            self.event, result.route.name, None, self.event.time_ns
        )
        if silence is not None:
            return f": {describe_silenced(silence, self.present.zone, self.event.time_ns)}"
        expected = forecast(self.policies, self.event, result, name)
        holds = find_holds(self.policies, self.event, result, name)
        return describe_forecast(expected, holds, self.event.time_ns, self.present.zone)


async def _ask_relay(config_file: Path | None, event: Event) -> Present:
    """Ask the running relay; raises `OperationError` if none runs."""
    socket = socket_path(locate_store(config_file).path)
    try:
        async with connect_to_daemon(socket) as relay:
            key = subject_key(event)
            page = await relay.list_incidents(_MAX_INCIDENTS, include_ended=True, subject=key)
            known = {view.destination: view for view in page.incidents}
            info = await relay.call(DAEMON_INFO, None)
            silences = Silences(await relay.list_silences())
            return Present(known, info.now_ns, find_zone(info.time_zone), silences)
    except NoDaemon as error:
        raise OperationError(
            f"no relay is running ({error}): start one, or leave out --now"
        ) from error
