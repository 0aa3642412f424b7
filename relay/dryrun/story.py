"""A story with an end: one container crashes, loops, and stays up.

`relay demo` shows it, and the pictures in the documents are made of it. The events are written
here; the daemon's own code decides which messages are sent about them, and when.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from relay.config import Config, Route
from relay.core.container_facts import ContainerFacts
from relay.core.event import DEFAULT_ENGINE, Cause, Event
from relay.core.include import FACTS_ONLY, Included
from relay.destinations.catalog import parse_config
from relay.dryrun.incidents import PlannedNotification, SimulatedIncidents
from relay.incidents.clock import Now
from relay.incidents.inquiry import Answer, Inquiry
from relay.incidents.policy import build_policies
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event
from relay.routing.router import Router, Verdict

CHAT = "chat"
"""The destination of `chat_config`."""

_CONTAINER = "c0ffee" + 58 * "0"
_EXIT_CODE = 1
_RUNS_S = (6.0, 5.0, 7.0, 6.0, 7.0, 6.0, 8.0)
"""How long it runs before each crash except the first. With the delays before its restarts the loop
takes a little more than a minute, so it has not ended when the second message is sent."""
_FIRST_RUN_S = 7_200.0
"""How long it had run before the first crash."""
_FIRST_DELAY_S = 0.1
"""Docker waits so long before the first restart, and twice as long before each further one:
https://docs.docker.com/reference/cli/docker/container/run/#restart"""
_SECOND_NS = 10**9

_ROUTE = """
destinations:
  chat: {type: slack, url: "https://hooks.slack.com/services/T0/B0/demo"}
routes:
  - name: crashed
    match: {type: container, action: die, cause: crashed}
    include: {logs: 3}
    to: chat
"""


class Cast(msgspec.Struct, frozen=True):
    """The names in the story."""

    container: str = "shop-web-1"
    project: str = "shop"
    service: str = "web"
    image: str = "shop/web:2.4"
    host: str = "node-1"
    route: str = "crashed"
    logs: tuple[str, ...] = (
        "listening on :8080",
        "lost the database: dial tcp db-1:5432: connection refused",
        "panic: no database",
    )


DEMONSTRATION = Cast(
    container="[demonstration] shop-web-1",
    project="[demonstration] shop",
    host="[demonstration] node-1",
    route="demonstration",
    logs=("[demonstration] sent by 'relay demo': nothing has happened", *Cast().logs),
)
"""Names that show people that nothing has happened, wherever a message has one of them."""

Step = Event | PlannedNotification


def chat_config() -> Config:
    """Return a configuration with a chat, `CHAT`, that gets what a new user's chat would get."""
    return parse_config(_ROUTE, file="demo", environ={}, folder=Path("/"))


def tell_story(config: Config, destination: str, cast: Cast, start_ns: int) -> list[Step]:
    """Return the events from ``start_ns`` on, and what a destination is sent, by their times.

    The keys of the destination count, such as ``notify`` and ``resolve_after``. The routes of the
    configuration do not: everything goes to the destination by a route of the story's own.
    """
    route = chat_config().routes[0].model_copy(update={"name": cast.route, "to": (destination,)})
    config = config.model_copy(update={"routes": (route,)})
    router = Router(config.routes)
    incidents = SimulatedIncidents(build_policies(config), router, DEFAULT_ENGINE)
    steps, deaths = list[Step](), 0
    for event in _list_events(cast, start_ns):
        sent = [it for it in router.explain(event) if it.verdict is Verdict.SENT]
        planned = incidents.take(event, sent)
        incident = incidents.find_incident(destination, event)
        if incident is not None and sent:
            deaths += 1
            facts = ContainerFacts(restart_policy="unless-stopped", restart_count=deaths)
            answer = Answer(Included(logs=cast.logs), facts)
            inquiry = Inquiry(incident.id, event, FACTS_ONLY)
            incidents.dispatcher.put_answer(inquiry, answer, Now(event.time_ns))
        steps += [it for it in planned if it.notification.update is not None]
        steps.append(event)
        steps += [
            _add_included(it, route, cast) for it in planned if it.notification.update is None
        ]
    steps += incidents.finish()
    return steps


def list_messages(steps: Sequence[Step]) -> list[PlannedNotification]:
    """Return what is sent."""
    return [step for step in steps if isinstance(step, PlannedNotification)]


def _add_included(planned: PlannedNotification, route: Route, cast: Cast) -> PlannedNotification:
    """Return the notification of one event with what its route includes."""
    notification = replace(
        planned.notification, include=route.include.request, included=Included(logs=cast.logs)
    )
    return PlannedNotification(notification, planned.destinations, planned.at_ns)


def _list_events(cast: Cast, start_ns: int) -> list[Event]:
    """Return the crashes, each with the start that follows."""
    events, at_s, delay_s = list[Event](), 0.0, _FIRST_DELAY_S
    for run_s in (0.0, *_RUNS_S):
        at_s += run_s
        death = _build_event(cast, "die", start_ns, at_s, {"exitCode": str(_EXIT_CODE)})
        ran_ns = round((run_s or _FIRST_RUN_S) * _SECOND_NS)
        events.append(replace(death, cause=Cause.CRASHED, ran_ns=ran_ns))
        at_s += delay_s
        delay_s *= 2
        events.append(_build_event(cast, "start", start_ns, at_s))
    return events


def _build_event(
    cast: Cast, action: str, start_ns: int, at_s: float, more: Mapping[str, str] | None = None
) -> Event:
    """Parse the record that an engine would send."""
    attributes = {
        "image": cast.image,
        "name": cast.container,
        "com.docker.compose.project": cast.project,
        "com.docker.compose.service": cast.service,
        **(more or {}),
    }
    record = {
        "Type": "container",
        "Action": action,
        "Actor": {"ID": _CONTAINER, "Attributes": attributes},
        "timeNano": start_ns + round(at_s * _SECOND_NS),
    }
    encoded = msgspec.json.encode(record)
    event = parse_event(encoded, engine=DEFAULT_ENGINE, host=cast.host, live_from_ns=0)
    assert not isinstance(event, InvalidRecord), "it has all fields"
    return event
