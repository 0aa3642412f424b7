"""A real Alertmanager: an alert begins, goes on and ends as the incident does."""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import sleep, time_ns
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from relay.core.event import Event
from relay.core.exchange import Response
from relay.core.notification import Notification
from relay.core.zone import UTC_ZONE
from relay.delivery.client import ConsoleOutput, DestinationClient, open_client
from relay.delivery.rate_limit import RateLimiter
from relay.delivery.refresh import Refresher
from relay.destinations import alertmanager
from relay.destinations.alertmanager import AlertmanagerDestination
from tests.support.receiver import Received, Receiver
from tests.unit.destinations.samples import CRASH, crash_of, with_fields
from tests.unit.destinations.updates import (
    OPENED,
    crash_looping,
    report,
    resolved,
    update_of,
    with_hostile_names,
)

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="Alertmanager is not here (Debian: prometheus-alertmanager)"
)
START_TIMEOUT_S = 15.0
SECOND_NS = 10**9
CONFIGURATION = """
route: {{receiver: hook, group_by: ["..."], group_wait: 0s, group_interval: 1s}}
receivers: [{{name: hook, webhook_configs: [{{url: "{url}"}}]}}]
"""


class Alertmanager:
    """A running Alertmanager, and what it sends to its receiver."""

    def __init__(self, url: str, receiver: Receiver) -> None:
        self.url = url
        self.receiver = receiver

    def alerts(self) -> dict[str, Any]:
        """Return the alerts that fire, by the name of the container."""
        with urlopen(f"{self.url}/api/v2/alerts", timeout=5) as answer:
            return {alert["labels"]["container"]: alert for alert in json.load(answer)}

    def wait_for(self, container: str, *statuses: str) -> None:
        """Wait until its receiver got exactly these statuses of a container's alert, in order."""
        self.receiver.wait_for(
            lambda received: list(self._list_statuses(received, container)) == [*statuses]
        )

    def _list_statuses(self, received: tuple[Received, ...], container: str) -> Iterator[str]:
        for request in received:
            for alert in request.json["alerts"]:
                if alert["labels"]["container"] == container:
                    yield alert["status"]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Alertmanager]:
    assert PROGRAM is not None
    with Receiver() as receiver:
        (tmp_path / "am.yml").write_text(CONFIGURATION.format(url=receiver.url()))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]  # Alertmanager does not say which port it has
        process = subprocess.Popen(
            [
                *(PROGRAM, f"--config.file={tmp_path}/am.yml", f"--storage.path={tmp_path}/data"),
                *(f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="),
                "--log.level=error",
            ],
            stdout=sys.stderr,
        )
        try:
            started = Alertmanager(f"http://127.0.0.1:{port}", receiver)
            _wait_until_ready(started)
            yield started
        finally:
            process.terminate()
            process.wait(10)


def _wait_until_ready(started: Alertmanager) -> None:
    for _ in range(int(START_TIMEOUT_S / 0.1)):
        try:
            started.alerts()
        except URLError:
            sleep(0.1)
        else:
            return
    raise AssertionError("Alertmanager does not start")


@asynccontextmanager
async def client_of(running: Alertmanager) -> AsyncIterator[DestinationClient]:
    destination = AlertmanagerDestination.model_validate({"url": running.url})
    console = ConsoleOutput(sys.stdout.buffer, colour=False)
    async with open_client("alerts", destination, (), console, zone=UTC_ZONE) as client:
        yield client


def crash_at(time_ns: int, name: str = "web-1") -> Event:
    """A crash at this time."""
    event = crash_of(name)
    return with_fields(event, time_ns=time_ns)


async def send(running: Alertmanager, *notifications: Notification) -> list[Response]:
    """Send notifications as the worker does, one after the other."""
    async with client_of(running) as client:
        return [await client.send(notification) for notification in notifications]


def test_an_alert_from_its_beginning_to_its_end(running: Alertmanager) -> None:
    """Its receiver is notified twice: that it fires, and that it is resolved."""
    began_ns = time_ns() - 60 * SECOND_NS
    event = crash_at(began_ns)
    opened = update_of(report(event), event=event)
    asyncio.run(send(running, opened))
    first = running.alerts()["web-1"]
    running.wait_for("web-1", "firing")

    later = with_fields(event, time_ns=began_ns + SECOND_NS, cause=None, exit_code=1)
    asyncio.run(send(running, update_of(crash_looping(event), event=later)))
    second = running.alerts()["web-1"]
    assert second["fingerprint"] == first["fingerprint"]
    assert second["startsAt"] == first["startsAt"]
    assert second["endsAt"] > first["endsAt"]
    assert second["annotations"]["count"] == "5"

    over = update_of(resolved(event, ended_ns=began_ns + 30 * SECOND_NS), event=later)
    asyncio.run(send(running, over))
    assert running.alerts() == {}
    running.wait_for("web-1", "firing", "resolved")


def test_an_incident_that_is_opened_again_fires_again(running: Alertmanager) -> None:
    """It has the same labels and the same beginning as before."""
    began_ns = time_ns() - 60 * SECOND_NS
    event = crash_at(began_ns)
    opened = update_of(report(event), event=event)
    over = update_of(resolved(event, ended_ns=began_ns + 30 * SECOND_NS), event=event)
    asyncio.run(send(running, opened))
    running.wait_for("web-1", "firing")
    asyncio.run(send(running, over))
    running.wait_for("web-1", "firing", "resolved")
    asyncio.run(send(running, opened))
    running.wait_for("web-1", "firing", "resolved", "firing")


def test_a_refresh_puts_off_the_end_of_every_alert(
    running: Alertmanager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alert that is not repeated ends by itself; of those that are, the receiver hears once."""
    monkeypatch.setattr(alertmanager, "OPEN_NS", 6 * SECOND_NS)
    events = [crash_at(time_ns() - SECOND_NS, f"web-{n}") for n in range(150)]
    updates = [update_of(report(event), event=event) for event in events]

    async def refresh() -> None:
        async with client_of(running) as client:
            refresher = Refresher(lambda: client, RateLimiter(), lambda: True, time_ns)
            assert refresher.start()
            repeats = [lambda update=update: update for update in updates[1:]]
            await refresher.run(repeats, lambda: None)
            assert client.counters.refreshes == {"delivered": 2}

    asyncio.run(send(running, *updates[:2]))
    monkeypatch.setattr(alertmanager, "OPEN_NS", 60 * SECOND_NS)
    asyncio.run(refresh())
    running.wait_for("web-0", "firing", "resolved")
    running.wait_for("web-1", "firing")
    assert len(running.alerts()) == 149


def test_hostile_names_and_clocks_are_accepted(running: Alertmanager) -> None:
    """Every alert is taken: Alertmanager refuses an end before the beginning."""
    ahead = crash_at(time_ns() + 3600 * SECOND_NS, "ahead")
    updates = [
        with_hostile_names(OPENED),
        update_of(report(CRASH, started_ns=CRASH.time_ns + 10**18), event=CRASH),
        update_of(report(ahead), event=ahead),
        update_of(resolved(ahead, ended_ns=ahead.time_ns + SECOND_NS), event=ahead),
    ]
    assert [answer.status for answer in asyncio.run(send(running, *updates))] == [200] * 4
