"""``relay explain``."""

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from time import time_ns
from typing import Any

import click
import msgspec

from relay.admin import logs
from relay.cli.options import config_option, read_config
from relay.core.event import Cause, Event
from relay.core.text import escape_unprintable
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.containers.tracker import ContainerTracker
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event
from relay.ingest.docker.engine.self_container import find_self_container, is_self_exec
from relay.routing.router import Router, RouteResult, Verdict

_EVENT_OPTIONS = ("id_", "name", "image", "labels", "attributes")
"""Options that say nothing without an action."""

_MARKS = {
    Verdict.SENT: "✓",
    Verdict.ALREADY_SENT: "✓",
    Verdict.DROPPED: "✓",
    Verdict.NO_MATCH: "✗",
    Verdict.NOT_REACHED: "·",
}


@click.command()
@config_option
@click.option("--engine", help="The engine that says it; by default the first.")
@click.option("--type", "type_", default="container", show_default=True)
@click.option("--action", help="For example die, oom, 'health_status: unhealthy'.")
@click.option("--id", "id_", default="", help="The actor's id.")
@click.option("--name", help="The actor's name.")
@click.option("--image", help="The container's image.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE")
@click.option("--attribute", "attributes", multiple=True, metavar="KEY=VALUE")
@click.option(
    "--cause",
    type=click.Choice([cause.value for cause in Cause]),
    help="Why it died, where the event alone does not tell.",
)
@click.pass_context
def explain(
    context: click.Context, /, chosen: Path | None, action: str | None, **given: Any
) -> None:
    """Print for every route whether it takes an event and, if not, which condition failed first.

    The event is described with options, or is one JSON object on standard input, as `docker events
    --format '{{json .}}'` prints it or as relay sends it. Exit code 1 if no
    route matches.
    """
    config = read_config(chosen)
    engine = given["engine"] or next(iter(config.engines))
    if engine not in config.engines:
        raise click.UsageError(f"no engine {engine!r}; there are: {', '.join(config.engines)}")
    if action is not None:
        record = _build_record(action, given)
    elif sys.stdin.isatty() or any(given[key] for key in _EVENT_OPTIONS):
        raise click.UsageError("give --action, or nothing but one event as JSON on standard input")
    else:
        record = sys.stdin.buffer.read()
    event = _parse_event(record, engine, given["cause"])
    logs.configure(sys.stderr, level=logging.WARNING)
    if is_self_exec(event, find_self_container()):
        click.echo(f"{_what(event)}: a command in relay's own container, which no route is asked")
        context.exit(1)
    steps = list(Router(config.routes).explain(event))
    for line in _format_report(event, steps):
        click.echo(line)
    unmatched = (Verdict.NO_MATCH, Verdict.NOT_REACHED)
    context.exit(1 if all(step.verdict in unmatched for step in steps) else 0)


def _build_record(action: str, given: dict[str, Any]) -> bytes:
    """The record that the engine would have sent."""
    attributes = _parse_pairs((*given["labels"], *given["attributes"]))
    attributes |= {key: given[key] for key in ("name", "image") if given[key]}
    actor = {"ID": given["id_"], "Attributes": attributes}
    return msgspec.json.encode(
        {"Type": given["type_"], "Action": action, "Actor": actor, "timeNano": time_ns()}
    )


def _parse_pairs(texts: Iterable[str]) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    if "" in pairs or any("=" not in text for text in texts):
        raise click.UsageError("labels and attributes are given as KEY=VALUE")
    return pairs


def _parse_event(record: bytes, engine: str, cause: str | None) -> Event:
    event = _parse_relay_event(record) or parse_event(
        record, engine=engine, host=engine, live_from_ns=0
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
    return ContainerTracker(ContainerRegistry()).on_event(event, {})[-1]


def _parse_relay_event(record: bytes) -> Event | None:
    """The event, if it is one of those in relay's own notifications."""
    try:
        return msgspec.json.decode(record, type=Event)
    except (msgspec.DecodeError, RecursionError):
        return None


def _format_report(event: Event, steps: list[RouteResult]) -> list[str]:
    facts = {"exit_code": event.exit_code, "cause": event.cause, "health": event.health}
    known = ", ".join(f"{key} {value}" for key, value in facts.items() if value is not None)
    what = _what(event)
    width = max((len(step.route.name) for step in steps), default=0)
    return [
        what + (f" ({known})" if known else ""),
        *(
            f"{_MARKS[step.verdict]} {step.route.name:{width}}  {_explain_match(step, event)}"
            for step in steps
        ),
    ]


def _what(event: Event) -> str:
    return f"{escape_unprintable(event.type)} {escape_unprintable(event.action)} {event.actor.name or ''!r}"


def _explain_match(step: RouteResult, event: Event) -> str:
    match step.verdict:
        case Verdict.SENT:
            return f"matches → {', '.join(step.destinations)}"
        case Verdict.ALREADY_SENT:
            return "matches, but goes to nobody else"
        case Verdict.DROPPED:
            return "matches and drops it"
        case Verdict.NOT_REACHED:
            return "not reached: a route above ends the walk"
        case Verdict.NO_MATCH:
            assert step.failed_condition is not None
            return f"{step.failed_condition.path}: wanted {step.failed_condition.expected}, found {step.failed_condition.describe_actual(event)}"
