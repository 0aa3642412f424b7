"""Messages as a consumer delivers them, and a pipeline that takes them."""

from collections.abc import Sequence

from relay.config import Route
from relay.core.counters import EngineCounters
from relay.core.event import HEARTBEAT, RELAY_ENGINE, Actor, Event, make_event_id, make_self_event
from relay.core.include import Included
from relay.incidents.incidents import Incidents, without_incidents
from relay.ingest.nats.hosts import HostWatch
from relay.ingest.nats.pipeline import MessagePipeline
from relay.ingest.nats.seen import SeenEvents
from relay.nats.message import encode_event
from relay.nats.puller import PulledMessage
from relay.nats.subjects import event_subject
from relay.routing.router import Router

ENGINE = "fleet"
SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS

CONTAINERS = Route.model_validate({"name": "all", "to": ["ops"]})
SELF_EVENTS = Route.model_validate({"name": "own", "match": {"type": "relay"}, "to": ["ops"]})
DEATHS = Route.model_validate({"name": "died", "match": {"action": "die"}, "to": ["ops"]})


def make_death(number: int = 1, container: str = "web", **fields: object) -> Event:
    """The ``number``-th death of a container."""
    attributes = {"number": str(number)}
    values: dict[str, object] = {
        "id": make_event_id("local", number, "container", "die", container, attributes),
        "engine": "local",
        "host": "claimed",
        "type": "container",
        "action": "die",
        "detail": None,
        "scope": "local",
        "time_ns": number,
        "actor": Actor(container, container, "bb:1", attributes),
        "exit_code": 1,
    }
    return Event(**{**values, **fields})  # type: ignore[arg-type]


def make_heartbeat(number: int = 1) -> Event:
    """A heartbeat of a relay."""
    return make_self_event(HEARTBEAT, engine=RELAY_ENGINE, host="claimed", time_ns=number)


def make_message(
    seq: int,
    event: Event | None = None,
    host: str = "web-1",
    *,
    included: Included | None = None,
    body: bytes | None = None,
    subject: str | None = None,
    pending: int = 0,
) -> PulledMessage:
    """The ``seq``-th message of the stream, from a host."""
    event = event or make_death(seq)
    return PulledMessage(
        subject=subject or event_subject(host, event.type, event.action),
        headers={},
        body=encode_event(host, event, included) if body is None else body,
        stream_seq=seq,
        delivered=1,
        stored_ns=1000 + seq,
        reply=f"$JS.ACK.RELAY.HUB.1.{seq}.{seq}.0.0",
        received_s=0.0,
        pending=pending,
    )


def make_pipeline(
    *routes: Route,
    incidents: Incidents | None = None,
    seen: SeenEvents | None = None,
    hosts: HostWatch | None = None,
) -> MessagePipeline:
    """A pipeline that knows nothing of hosts and events unless that is given."""
    return MessagePipeline(
        ENGINE,
        Router(routes or (CONTAINERS,)),
        incidents or without_incidents(),
        seen or SeenEvents(HOUR_NS),
        hosts or HostWatch(ENGINE, 5 * MINUTE_NS),
        EngineCounters(),
    )


def numbers(messages: Sequence[PulledMessage]) -> list[int]:
    """The numbers of messages in the stream."""
    return [message.stream_seq for message in messages]
