"""``relay explain``: which routes match an event, and why the others do not."""

import sys
from pathlib import Path
from time import time_ns
from typing import Any

import click
import msgspec

from relay.admin import logs
from relay.cli.options import check_known, complete_engine, config_option, read_config
from relay.cli.tables import format_duration
from relay.core.event import Cause, Event
from relay.core.text import truncate
from relay.dryrun.incidents import Prospect, foresee
from relay.dryrun.simulator import NAME_MAX, describe_mismatch, format_event
from relay.incidents.policy import Policies, build_policies
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.containers.tracker import ContainerTracker
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event
from relay.ingest.docker.engine.self_container import find_self_container, is_self_exec
from relay.routing.router import Router, RouteResult, Verdict

_EVENT_OPTIONS = ("id_", "name", "image", "labels", "attributes")
"""Options that need --action."""

_MARKS = {
    Verdict.SENT: "✓",
    Verdict.ALREADY_SENT: "✓",
    Verdict.DROPPED: "✓",
    Verdict.NO_MATCH: "✗",
    Verdict.NOT_REACHED: "·",
}


@click.command()
@config_option
@click.option(
    "--engine",
    metavar="NAME",
    shell_complete=complete_engine,
    help="The engine that sends the event. Default: the first configured.",
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
@click.pass_context
def explain(
    context: click.Context, /, config_file: Path | None, action: str | None, **options: Any
) -> None:
    """Show for each route whether it matches an event and, if not, which condition fails first.

    For a route that matches, shows which destinations are told at once, and when the others are
    told of the incident that the event opens.

    Describe the event with options, or pass one JSON object on standard input: as `docker events
    --format '{{json .}}'` prints it, or as relay sends it. Exit code 1 if no route matches.
    """
    config = read_config(config_file)
    check_known("engine", options["engine"], config.engines)
    engine = options["engine"] or next(iter(config.engines))
    if action is not None:
        record = _build_record(action, options)
    elif sys.stdin.isatty() or any(options[key] for key in _EVENT_OPTIONS):
        raise click.UsageError(
            "give --action, or pass one event as JSON on standard input and no other options"
        )
    else:
        record = sys.stdin.buffer.read()
    event = _parse_event(record, engine, options["cause"])
    logs.configure(sys.stderr, level="warning")
    if is_self_exec(event, find_self_container()):
        reason = "a command in relay's own container, for which relay tries no route"
        click.echo(f"{format_event(event)}: {reason}")
        context.exit(1)
    results = list(Router(config.routes).explain(event))
    click.echo(format_event(event))
    width, policies = max((len(it.route.name) for it in results), default=0), build_policies(config)
    for result in results:
        mark, name = _MARKS[result.verdict], result.route.name
        click.echo(f"{mark} {name:{width}}  {_explain_result(result, event, policies)}")
    unmatched = (Verdict.NO_MATCH, Verdict.NOT_REACHED)
    context.exit(1 if all(result.verdict in unmatched for result in results) else 0)


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


def _parse_relay_event(record: bytes) -> Event | None:
    """Parse an event as relay's notifications hold it; None if it is none."""
    try:
        return msgspec.json.decode(record, type=Event)
    except (msgspec.DecodeError, RecursionError):
        return None


def _explain_result(result: RouteResult, event: Event, policies: Policies) -> str:
    match result.verdict:
        case Verdict.SENT:
            return f"matches {_describe_destinations(result, event, policies)}"
        case Verdict.ALREADY_SENT:
            return "matches, but routes above send it to all its destinations"
        case Verdict.DROPPED:
            return "matches and drops it"
        case Verdict.NOT_REACHED:
            return "not tried: a route above has 'stop: true' or 'drop: true'"
        case Verdict.NO_MATCH:
            assert result.failed_condition is not None
            return describe_mismatch(result.failed_condition, event)


def _describe_destinations(result: RouteResult, event: Event, policies: Policies) -> str:
    """Return who is told what, and when, as if the event were the first of its subject.

    As in ``→ audit at once; → ops: opens an incident (web), told in 3 s with others of here/shop``.
    """
    destinations: dict[str, list[str]] = {}
    for name in result.destinations:
        described = " at once"
        if policies.takes_incidents(result.route.name, name):
            described = _describe_prospect(foresee(policies, event, result, name))
        destinations.setdefault(described, []).append(name)
    return "; ".join(f"→ {', '.join(names)}{text}" for text, names in destinations.items())


def _describe_prospect(prospect: Prospect) -> str:
    """Return what becomes of an event at a destination of incidents."""
    if prospect.notification.update is None:
        return " at once"
    opens = ""
    if prospect.incident is not None:
        subject = truncate(prospect.incident, NAME_MAX)
        opens = f"opens an incident{f' ({subject})' if subject else ''}, "
    if prospect.group is None:
        return f": {opens}told at once"
    wait = f"in {_format_wait(prospect.wait_ns)}" if prospect.wait_ns else "at once"
    group = truncate("/".join(filter(None, prospect.group)), NAME_MAX)
    company = f" with others of {group}" if group else " with all others"
    return f": {opens}told {wait}{company}"


def _format_wait(wait_ns: int) -> str:
    return f"{wait_ns // 1_000_000} ms" if wait_ns < 1e9 else format_duration(wait_ns)
