"""An engine's pipeline with a few routes."""

from pathlib import Path

from relay.config import StartFrom
from relay.destinations.catalog import parse_config
from relay.ingest.docker.buffer import Connection, Item, Record
from relay.ingest.docker.pipeline import EventPipeline
from relay.routing.router import Router
from relay.store.records import IngestCommit

NOW_NS = 1795420000_000000000
HERE = Connection(engine="here", host="node-1", opened_ns=0, since_ns=0)
ROUTES = """
destinations:
  ops: {type: console}
  audit: {type: console}
routes:
  - {name: out-of-memory, match: {type: container, action: oom}, to: ops}
  - name: crashed
    match: {type: container, action: die, cause: crashed, name: {not: "svc.*"}}
    to: [ops, audit]
  - {name: unhealthy, match: {type: container, health: unhealthy}, to: ops}
  - {name: own, match: {type: relay}, to: audit}
"""


def new_router() -> Router:
    """A router with these routes."""
    return Router(parse_config(ROUTES, file="routes", environ={}, folder=Path()).routes)


def new_pipeline(start_from: StartFrom = "oldest") -> EventPipeline:
    """A pipeline whose first connection has been made."""
    pipeline = EventPipeline("here", start_from, new_router())
    pipeline.since_ns(NOW_NS)
    return pipeline


def records(contents: list[bytes], connection: Connection = HERE) -> list[Item]:
    """The records as the buffer returns them."""
    return [Record(connection, content) for content in contents]


def process(pipeline: EventPipeline, items: list[Item], now_ns: int = NOW_NS) -> IngestCommit:
    """Process the items as one batch, in which nothing waits for an answer."""
    return pipeline.process(items, now_ns, {})


def routed(commit: IngestCommit) -> list[tuple[str, str | None]]:
    """The route and the actor's name of each notification."""
    return [
        (notification.route, notification.events[0].actor.name)
        for notification, _ in commit.notifications
    ]
