"""What a running daemon answers, for tests of the admin API."""

import msgspec

from relay.core.event import Actor, Event
from relay.core.exchange import Answer, Dead, Reason
from relay.core.include import Include, Included
from relay.core.notification import Notification
from relay.core.status import DaemonStatus, DestinationStatus, EngineStatus, StreamStatus
from relay.store.outbox import Outbox
from relay.store.records import HOLD_NS, Ack, Delivery, Selection
from tests.unit.destinations.samples import container_event
from tests.unit.store.samples import make_commit, make_notification

NOW_NS = 1_795_416_514 * 10**9


ANSWER = Answer(400, "no\x1b[2J such \u202echannel\n\ud7ff \U0001f525", None)


DESTINATION_STATUS = {
    "ops": DestinationStatus(),
    "audit": DestinationStatus(stopped=True, failing=True, resumes_ns=7),
}


DAEMON_STATUS = DaemonStatus(
    {
        "here": EngineStatus(NOW_NS, StreamStatus(is_open=True, behind=3, gaps=2, reconnects=1)),
        "new": EngineStatus(None, StreamStatus(is_open=False, behind=0, gaps=0, reconnects=0)),
    },
    version="1.2.3",
    store_failing="full",
    store_failing_since_ns=5,
)


ALL = Selection()


async def make_dead_letters(outbox: Outbox, *notifications: Notification, to: str = "ops") -> None:
    """Commit deliveries and let them die."""
    await outbox.commit(make_commit(*notifications, to=(to,)), 10)
    while found := await fetch_due(outbox, to):
        await outbox.ack([Ack(found[0], Dead(Reason.REFUSED), ANSWER)], 20, flush=True)


async def fetch_due(outbox: Outbox, to: str = "ops") -> list[Delivery]:
    """Return the deliveries that are due."""
    return list((await outbox.fetch_due(to, 20 + HOLD_NS, 100)).deliveries)


def start_event(number: int, size: int = 0) -> Event:
    """Return the start of container ``web-NUMBER``, with an attribute of this size."""
    return container_event("start", number, "c0", {"name": f"web-{number}", "long": "x" * size})


def hostile_notification(number: int) -> Notification:
    """A notification that contains whatever an attacker could put into it."""
    whole = make_notification(number)
    hostile = 'a"b\\\x00\x1b\x9b\u202e\u2028\ue000\U0001f525\r\n{{x}}'
    (event,) = whole.events
    actor = Actor(hostile, hostile, hostile, {hostile: hostile, "": ""})
    return msgspec.structs.replace(
        whole,
        route=hostile,
        events=(msgspec.structs.replace(event, actor=actor, detail=hostile),),
        include=Include(1, True, ("a",)),
        included=Included((hostile,), hostile, {hostile: {"a": [1, None, hostile]}}, hostile),
    )
