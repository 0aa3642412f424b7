"""Apprise: what its services get, and what becomes of what they answer."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from relay.config import RetryConfig
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Response, Retry
from relay.delivery.apprise import HANGING_MAX, AppriseSender
from relay.delivery.retry import Attempt, classify
from relay.destinations.apprise import AppriseDestination
from relay.destinations.common.card import Card
from tests.component.wait import TIMEOUT_S
from tests.support.receiver import Misbehaviour, Receiver, Reply
from tests.unit.destinations.samples import NOTIFICATIONS

FIRST = Attempt(earlier_attempts=0, age_s=0, random_fraction=0.5)
CANARY = "canary7e1f"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as listening:
        yield listening


def apprise_to(receiver: Receiver, scheme: str = "json", **keys: object) -> AppriseDestination:
    """A destination at the receiver, with a secret in its user, its path and its query."""
    place = receiver.url("").removeprefix("http://")
    url = f"{scheme}://u:{CANARY}-password@{place}/{CANARY}-path?-key={CANARY}-query"
    return AppriseDestination.model_validate({"url": url, **keys})


async def send(to: AppriseDestination) -> Response:
    """Send the message about the first sample."""
    sender = AppriseSender(to)
    async with asyncio.timeout(TIMEOUT_S):
        return await sender.send(to.render(Card(NOTIFICATIONS[0])))


def outcome_of(response: Response) -> Outcome:
    """What relay makes of a response."""
    return classify(response, FIRST, RetryConfig())


async def test_json_gets_the_message(receiver: Receiver) -> None:
    """Title, text and type are relay's."""
    assert outcome_of(await send(apprise_to(receiver))) == Delivered()
    (request,) = receiver.received
    assert request.json["title"] == "🔴 shop-web-1 crashed with exit code 42"
    assert request.json["message"].startswith("Host: node-1")
    assert (request.json["type"], request.json["attachments"]) == ("failure", [])


async def test_xml_gets_the_message(receiver: Receiver) -> None:
    """The same, as SOAP."""
    assert outcome_of(await send(apprise_to(receiver, "xml"))) == Delivered()
    (request,) = receiver.received
    elements = ElementTree.fromstring(request.body).iter()
    texts = {each.tag.rpartition("}")[2]: each.text for each in elements}
    assert texts["Subject"] == "🔴 shop-web-1 crashed with exit code 42"
    assert texts["MessageType"] == "failure"


@pytest.mark.parametrize("scheme", ["json", "xml"])
@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (400, Dead, Reason.REFUSED),
        (404, Dead, Reason.REFUSED),
        (429, Retry, Reason.RATE_LIMITED),
        (500, Retry, Reason.UNAVAILABLE),
        (503, Retry, Reason.UNAVAILABLE),
        (302, Dead, Reason.REDIRECT),
    ],
)
async def test_statuses(
    receiver: Receiver, scheme: str, status: int, kind: type[Outcome], reason: Reason
) -> None:
    """Apprise logs the status of a service; it means what it means elsewhere."""
    receiver.answer(Reply(status, {"Location": receiver.url("/elsewhere")}, CANARY.encode()))
    response = await send(apprise_to(receiver, scheme))
    found = outcome_of(response)
    assert (response.status, type(found), found.reason) == (status, kind, reason)
    assert len(receiver.received) == 1
    assert CANARY not in repr(response)


async def test_no_answer_is_tried_again(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Apprise does not say whether an error is for ever; what it logs is shown masked."""
    receiver.answer(Misbehaviour.RESET)
    with caplog.at_level(logging.DEBUG):
        response = await send(apprise_to(receiver))
    assert isinstance(outcome_of(response), Retry)
    assert response.failure is Reason.UNAVAILABLE
    assert "Connection error" in (response.error or "")
    shown = repr(response) + caplog.text + "".join(capfd.readouterr())
    assert CANARY not in shown


async def test_a_service_that_hangs(receiver: Receiver) -> None:
    """The attempt ends in time, and only so many threads are left behind."""
    receiver.answer(Misbehaviour.HANG)
    to = apprise_to(receiver, timeout={"connect": "100ms", "total": "200ms"})
    sender = AppriseSender(to)
    sender._service.socket_read_timeout = TIMEOUT_S
    sender._service.request_rate_per_sec = 0
    request = to.render(Card(NOTIFICATIONS[0]))
    before = threading.active_count()
    responses = [await sender.send(request) for _ in range(HANGING_MAX + 3)]
    assert {response.failure for response in responses} == {Reason.TIMEOUT}
    assert [response.error for response in responses[-2:]] == ["4 earlier messages still hang"] * 2
    # the receiver has threads of its own
    assert sum(each.name == "apprise" for each in threading.enumerate()) == HANGING_MAX + 1
    assert before < threading.active_count()


async def test_an_error_of_a_service(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words may hold the URL, so only its kind is shown."""
    to = apprise_to(receiver)
    sender = AppriseSender(to)

    def fail(**_: object) -> bool:
        raise ZeroDivisionError(to.url.get_secret_value())

    monkeypatch.setattr(sender._service, "notify", fail)
    response = await sender.send(to.render(Card(NOTIFICATIONS[0])))
    assert (response.failure, response.error) == (
        Reason.UNAVAILABLE,
        "Apprise failed: ZeroDivisionError",
    )


async def test_nothing_is_taken_from_the_environment(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a proxy nor a password."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert outcome_of(await send(apprise_to(receiver))) == Delivered()


async def test_a_long_text_is_one_message(receiver: Receiver) -> None:
    """Apprise cuts it, and does not send the rest as further messages."""
    to = apprise_to(receiver)
    sender = AppriseSender(to)
    sender._service.body_maxlen = 50
    response = await sender.send(to.render(Card(NOTIFICATIONS[0])))
    assert outcome_of(response) == Delivered()
    (request,) = receiver.received
    assert len(request.json["message"]) <= 50
