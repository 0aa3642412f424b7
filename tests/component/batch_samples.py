"""Notifications and answers for workers that send batches."""

from collections.abc import Callable

from relay.core.exchange import Reason, Response
from relay.core.notification import Notification
from tests.component.delivery_worker import sample_notification

MS = 10**6

BATCH_OF_FOUR = {"max": 4, "wait": "0s"}
NO_JITTER = {"jitter": 0}
UNREACHABLE = Response(None, failure=Reason.CONNECTION, error="Connection refused")
OK = Response(200)


def sample_notifications(count: int, first: int = 0) -> list[Notification]:
    """Notifications about as many containers, all of one size."""
    return [
        sample_notification(number, str(number))
        for number in range(1000 + first, 1000 + first + count)
    ]


def ids(notifications: list[Notification]) -> list[str]:
    """The ids of notifications."""
    return [each.id for each in notifications]


def refuse_above(max_count: int) -> Callable[[list[str]], Response]:
    """An answer that refuses batches of more than ``max_count`` with a 413."""
    return lambda inside: Response(413 if len(inside) > max_count else 200, b"too large")
