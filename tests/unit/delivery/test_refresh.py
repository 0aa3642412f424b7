"""Refreshes: open incidents are repeated; no refresh is stored or tried again."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from relay.config import Rate
from relay.core.exchange import Reason, Request, Response
from relay.core.include import Included
from relay.core.notification import Notification, Repeat
from relay.core.zone import UTC_ZONE
from relay.delivery.batching import MAX_BODY_BYTES
from relay.delivery.client import DestinationClient
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.refresh import Refresher
from relay.destinations.alertmanager import AlertmanagerDestination
from tests.support.virtual_time import run_in_virtual_time
from tests.unit.destinations.samples import crash_of
from tests.unit.destinations.updates import report, update_of


class Receiver:
    """Answers at once, or when the test lets it; records requests with their times."""

    def __init__(self, *answers: Response) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []
        self.times_s: list[float] = []
        self.takes_s = 0.0

    async def send(self, request: Request) -> Response:
        self.requests.append(request)
        self.times_s.append(now_s())
        await asyncio.sleep(self.takes_s)
        return self._answers.pop(0) if self._answers else Response(200)

    @property
    def sent(self) -> list[list[str]]:
        """The containers in each request."""
        return [
            [alert["labels"]["container"] for alert in json.loads(request.body)]
            for request in self.requests
        ]


class Refreshing:
    """A refresher whose destination is an Alertmanager, in virtual time."""

    def __init__(self, *answers: Response, limiter: RateLimiter | None = None, **keys: Any) -> None:
        self.to = Receiver(*answers)
        self.limiter = limiter or RateLimiter()
        destination = AlertmanagerDestination.model_validate({"url": "http://am", **keys})
        render = destination.build_renderer((), print, colour=False, zone=UTC_ZONE)
        self.client = DestinationClient("alerts", destination, render, self.to)
        self.may_send = True
        self.held: list[bool] = []
        self.refresher = Refresher(
            lambda: self.client, self.limiter, lambda: self.may_send, lambda: int(now_s() * 1e9)
        )

    async def refresh(self, incidents: Sequence[Repeat]) -> bool:
        """Refresh; return whether it began."""
        if not self.refresher.start():
            return False
        await self.refresher.run(incidents, lambda: self.held.append(self.refresher.is_sending))
        return True

    @property
    def counted(self) -> dict[str, int]:
        """The counters of refreshes."""
        return dict(self.client.counters.refreshes)


def now_s() -> float:
    return asyncio.get_running_loop().time()


def opened(name: str) -> Notification:
    """The message that repeats an incident of this container."""
    event = crash_of(name)
    return update_of(report(event), event=event)


def all_open(count: int) -> list[Repeat]:
    return [lambda name=f"web-{n}": opened(name) for n in range(count)]  # type: ignore[misc]


def run(test: Callable[[], Any]) -> None:
    """Run a coroutine in virtual time."""
    run_in_virtual_time(test())


def test_arrays_of_a_hundred() -> None:
    """Two hundred and one alerts are three requests, one after the other, each with its own id."""
    refreshing = Refreshing()
    run(lambda: refreshing.refresh(all_open(201)))
    assert [len(names) for names in refreshing.to.sent] == [100, 100, 1]
    assert refreshing.to.sent[2] == ["web-200"]
    assert {request.url for request in refreshing.to.requests} == {"http://am/api/v2/alerts"}
    ids = {request.headers["webhook-id"] for request in refreshing.to.requests}
    assert len(ids) == 3
    assert refreshing.held == [False] * 3
    assert refreshing.counted == {"delivered": 3}


def test_nothing_open_sends_nothing() -> None:
    """Not even an empty array, and no token of the rate limit is used."""
    limiter = RateLimiter([Rate(1, 60.0)])
    refreshing = Refreshing(limiter=limiter)
    run(lambda: refreshing.refresh([lambda: None, lambda: None]))
    assert refreshing.to.sent == []
    assert limiter.wait_s(object(), 0.0) == 0


def test_what_is_over_by_then_is_left_out() -> None:
    """relay checks this immediately before each request, not when the refresh begins."""
    ended: set[str] = set()
    repeats: list[Repeat] = [
        lambda name=f"web-{n}": None if name in ended else opened(name)  # type: ignore[misc]
        for n in range(102)
    ]
    refreshing = Refreshing(limiter=RateLimiter([Rate(1, 60.0)]))

    async def test() -> None:
        work = asyncio.create_task(refreshing.refresh(repeats))
        await asyncio.sleep(30)
        ended.add("web-100")
        await work

    run(test)
    assert refreshing.to.sent[1:] == [["web-101"]]
    assert refreshing.to.times_s == [0.0, 60.0]


def test_a_large_body_is_split() -> None:
    """A request has at most 1 MiB, as servers and proxies usually accept."""
    refreshing = Refreshing()
    large = replace(opened("web"), included=Included(logs=("漢" * 5_000,)))
    run(lambda: refreshing.refresh([lambda: large] * 100))
    sizes = [len(names) for names in refreshing.to.sent]
    assert sum(sizes) == 100
    assert len(sizes) == 2
    assert max(len(request.body) for request in refreshing.to.requests) <= MAX_BODY_BYTES


def test_each_header_has_its_requests() -> None:
    """A header may be a template: only alerts that share its value share a request."""
    refreshing = Refreshing(headers={"X-Tenant": "{{ event.name[:1] }}"})
    names = ("a-1", "a-2", "b-1", "b-2", "a-3")
    run(lambda: refreshing.refresh([lambda n=n: opened(n) for n in names]))  # type: ignore[misc]
    assert refreshing.to.sent == [["a-1", "a-2"], ["b-1", "b-2"], ["a-3"]]
    tenants = [request.headers["X-Tenant"] for request in refreshing.to.requests]
    assert tenants == ["a", "b", "a"]


@pytest.mark.parametrize(
    "answer",
    [
        Response(503),
        Response(None, failure=Reason.CONNECTION, error="Connection refused"),
        Response(410),
    ],
)
def test_a_destination_that_fails_ends_the_refresh(answer: Response) -> None:
    """Nothing is tried again, and one log line says so; the next refresh begins anew."""
    refreshing = Refreshing(answer)
    with capture_logs() as logs:
        run(lambda: refreshing.refresh(all_open(300)))
    assert len(refreshing.to.sent) == 1
    assert refreshing.counted == {"failed": 1}
    (line,) = logs
    assert (line["event"], line["destination"], line["incidents"]) == (
        "refresh.failed",
        "alerts",
        100,
    )
    run(lambda: refreshing.refresh(all_open(1)))
    assert refreshing.to.sent[1:] == [["web-0"]]


def test_a_request_that_is_refused_does_not_stop_the_others() -> None:
    """One alert that is not accepted must not let all the others expire."""
    refreshing = Refreshing(Response(400, b'"bad label"'))
    run(lambda: refreshing.refresh(all_open(101)))
    assert [len(names) for names in refreshing.to.sent] == [100, 1]
    assert refreshing.counted == {"failed": 1, "delivered": 1}


def test_a_pause_that_it_asks_for_holds_for_all() -> None:
    """Retry-After applies to every destination that shares the rate limiter."""
    refreshing = Refreshing(Response(429, headers={"retry-after": "30"}))
    run(lambda: refreshing.refresh(all_open(1)))
    assert refreshing.limiter.paused_for_s(0.0) == 30
    assert refreshing.limiter._callbacks == refreshing.limiter._waiters == []


def test_never_two_at_once() -> None:
    """A refresh that is due while another one runs is skipped, and counted."""
    refreshing = Refreshing()
    refreshing.to.takes_s = 20.0

    async def test() -> None:
        first = asyncio.create_task(refreshing.refresh(all_open(101)))
        await asyncio.sleep(1)
        assert refreshing.refresher.is_sending
        assert not await refreshing.refresh(all_open(101))
        await first
        assert await refreshing.refresh(all_open(1))

    run(test)
    assert refreshing.to.times_s == [0.0, 20.0, 40.0]
    assert refreshing.counted == {"delivered": 3, "skipped": 1}


def test_not_while_the_destination_does_not_respond() -> None:
    """Then a refresh neither begins nor goes on."""
    refreshing = Refreshing()
    refreshing.may_send = False
    run(lambda: refreshing.refresh(all_open(1)))
    assert (refreshing.to.sent, refreshing.counted) == ([], {"skipped": 1})
    refreshing.may_send = True
    refreshing.to.takes_s = 1.0

    async def test() -> None:
        work = asyncio.create_task(refreshing.refresh(all_open(101)))
        await asyncio.sleep(0.5)
        refreshing.may_send = False
        await work

    run(test)
    assert len(refreshing.to.sent) == 1


def test_a_wait_for_the_rate_limit_ends_with_the_worker() -> None:
    """`wake` makes it look again whether anything may be sent."""
    refreshing = Refreshing(limiter=RateLimiter([Rate(1, 3600.0)]))

    async def test() -> float:
        work = asyncio.create_task(refreshing.refresh(all_open(101)))
        await asyncio.sleep(5)
        refreshing.may_send = False
        refreshing.refresher.wake()
        await work
        return now_s()

    assert run_in_virtual_time(test()) == 5.0
    assert len(refreshing.to.sent) == 1
