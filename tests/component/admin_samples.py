"""What a desk of a relay that runs has to tell."""

import msgspec

from relay.core.event import Actor
from relay.core.exchange import Answer, Dead, Reason
from relay.core.notification import Include, Included, Notification
from relay.core.status import Condition, EngineReport, Listening, Report
from relay.store.outbox import SqliteOutbox
from relay.store.records import HOLD_NS, Delivery, Selection, Settled
from tests.unit.store.samples import intake, told

NOW_NS = 1_795_416_514 * 10**9


ANSWER = Answer(400, "no\x1b[2J such \u202echannel\n\ud7ff \U0001f525", None)


CONDITIONS = {"ops": Condition(), "audit": Condition(stopped=True, failing=True, resumes_ns=7)}


REPORT = Report(
    {
        "here": EngineReport(NOW_NS, Listening(is_open=True, behind=3, gaps=2, reconnects=1)),
        "new": EngineReport(None, Listening(is_open=False, behind=0, gaps=0, reconnects=0)),
    },
    version="1.2.3",
    store_failing="full",
    store_failing_since_ns=5,
)


ALL = Selection()


async def bury(outbox: SqliteOutbox, *notifications: Notification, to: str = "ops") -> None:
    await outbox.take_in(intake(*notifications, to=(to,)), 10)
    while found := await due(outbox, to):
        await outbox.settle([Settled(found[0], Dead(Reason.REFUSED), ANSWER)], 20)


async def due(outbox: SqliteOutbox, to: str = "ops") -> list[Delivery]:
    return list((await outbox.due(to, 20 + HOLD_NS, 100)).deliveries)


def hostile(number: int) -> Notification:
    """One that holds what anybody can make it hold."""
    whole = told(number)
    words = 'a"b\\\x00\x1b\x9b\u202e\u2028\ue000\U0001f525\r\n{{x}}'
    (event,) = whole.events
    actor = Actor(words, words, words, {words: words, "": ""})
    return msgspec.structs.replace(
        whole,
        route=words,
        events=(msgspec.structs.replace(event, actor=actor, detail=words),),
        include=Include(1, True, ("a",)),
        included=Included((words,), words, {words: {"a": [1, None, words]}}, words),
    )
