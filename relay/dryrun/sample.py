"""Sample notifications: what a destination would get if a container crashed just now."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType

import msgspec

from relay.config import Config
from relay.core.event import Cause, Event
from relay.core.include import Include, Included
from relay.core.notification import Notification, build_notification
from relay.dryrun.forecast import forecast
from relay.incidents.policy import build_policies
from relay.ingest.docker.engine.parser import InvalidRecord, parse_event
from relay.routing.router import Router, Verdict

CONTAINER = "relay-test"
"""The name of the container in every sample; it shows people that nothing has happened."""

_ID = "5ab1e" + 59 * "0"
_IMAGE = "example:1"


class SampleKind(StrEnum):
    """What happened to the container."""

    CRASH = "crash"
    OOM = "oom"
    UNHEALTHY = "unhealthy"


_EVENTS: Mapping[SampleKind, Sequence[tuple[str, Mapping[str, str], Cause | None]]]
_EVENTS = MappingProxyType(
    {
        SampleKind.CRASH: [("die", {"exitCode": "1"}, Cause.CRASHED)],
        SampleKind.OOM: [("die", {"exitCode": "137"}, Cause.OOM), ("oom", {}, None)],
        SampleKind.UNHEALTHY: [("health_status: unhealthy", {}, None)],
    }
)
"""The events of each kind, in their order: action, attributes and cause."""


class Sample(msgspec.Struct, frozen=True):
    """A sample notification."""

    notification: Notification
    route: str | None
    """The route that would send it; None if no route sends such an event to the destination."""


def build_sample(
    kind: SampleKind, config: Config, destination: str, host: str, now_ns: int
) -> Sample:
    """Build what the first route that matches sends to a destination, with its severity and texts.

    A destination of incidents gets the message that opens one. Container output and inspected
    fields are replaced by words that say what would stand there.
    """
    engine = config.usual_engine
    events = [_build_event(*it, engine, host, now_ns) for it in _EVENTS[kind]]
    router, policies = Router(config.routes), build_policies(config)
    for event in events:
        for result in router.explain(event):
            if result.verdict is Verdict.SENT and destination in result.destinations:
                include = result.route.include.request
                included = None if include is None else _describe(include)
                expected = forecast(policies, event, result, destination, included)
                return Sample(expected.notification, result.route.name)
    return Sample(build_notification("test", events[0]), None)


def _build_event(
    action: str,
    attributes: Mapping[str, str],
    cause: Cause | None,
    engine: str,
    host: str,
    now_ns: int,
) -> Event:
    """Parse the record that an engine would send."""
    actor = {"ID": _ID, "Attributes": {"image": _IMAGE, "name": CONTAINER, **attributes}}
    record = {"Type": "container", "Action": action, "Actor": actor, "timeNano": now_ns}
    event = parse_event(msgspec.json.encode(record), engine=engine, host=host, live_from_ns=0)
    assert not isinstance(event, InvalidRecord)
    return msgspec.structs.replace(event, cause=cause)


def _describe(include: Include) -> Included:
    return Included(
        logs=("(the last lines that the container wrote)",) if include.logs else None,
        health="(the output of its last health check)" if include.health else None,
        inspect=dict.fromkeys(include.inspect, "(its value)"),
    )
