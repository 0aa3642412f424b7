"""Sends messages by way of Apprise, whose services block: each message has a thread.

A thread cannot be ended from outside. An attempt is over after ``timeout.total``, and its thread
goes on until the service gives up; `HANGING_MAX` bounds how many such threads there are.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Sequence
from functools import partial

import msgspec
from apprise.plugins.base import NotifyBase

from relay.core.exchange import Reason, Request, Response
from relay.core.tasks import run_in_thread
from relay.delivery.http.response import ResponseReader
from relay.destinations.apprise import AppriseDestination, Message
from relay.destinations.common.apprise_service import LOGGER, open_service

HANGING_MAX = 3
"""So many threads may still hang when another message is sent."""
LINES_MAX = 20
"""At most this many log lines of one message are kept."""
LINE_MAX = 1_000
"""The longest log line, in characters."""
_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")
"""How Apprise's services log the status of HTTP that they got, as in ``error=404.``"""


class _LinesOfThread(logging.Handler):
    """Keeps what Apprise logs while it sends a message, and shows it nowhere.

    A line may hold a part of the URL. What becomes of it is up to the sender, which masks that.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._local = threading.local()

    def start(self) -> list[str]:
        """Keep the lines of this thread in a new list."""
        lines: list[str] = []
        self._local.lines = lines
        return lines

    def emit(self, record: logging.LogRecord) -> None:
        lines = getattr(self._local, "lines", None)
        if lines is not None and len(lines) < LINES_MAX:
            lines.append(record.getMessage()[:LINE_MAX])


_lines_of_thread = _LinesOfThread()
LOGGER.addHandler(_lines_of_thread)


class AppriseSender:
    """A `Sender` of one service of Apprise."""

    def __init__(self, destination: AppriseDestination) -> None:
        timeout = destination.timeout
        self._total_s = timeout.total.total_seconds()
        service = open_service(
            destination.url.get_secret_value(), timeout.connect.total_seconds(), self._total_s
        )
        assert service is not None, "the configuration was checked"
        self._service = service
        self._reader = ResponseReader(destination)
        self._running: set[asyncio.Future[tuple[bool, Sequence[str]]]] = set()
        self._threads_max = destination.concurrency + HANGING_MAX

    async def send(self, request: Request) -> Response:
        """Send the message; the result holds no secret.

        Apprise says whether the service took it, and otherwise only writes to its log why. If all
        that the log says is a status of HTTP, it is the answer; else the message is tried again.
        """
        if len(self._running) >= self._threads_max:
            count = len(self._running)
            return self._reader.failed(Reason.TIMEOUT, f"{count} earlier messages still hang")
        message = msgspec.json.decode(request.body, type=Message)
        sending = run_in_thread(partial(_notify, self._service, message), "apprise")
        self._running.add(sending)
        sending.add_done_callback(self._running.discard)
        await asyncio.wait({sending}, timeout=self._total_s)
        if not sending.done():
            return self._reader.failed(Reason.TIMEOUT, f"no answer in {self._total_s:g} s")
        if (error := sending.exception()) is not None:
            # its words may hold a part of the URL, in a form that nobody knows
            return self._reader.failed(
                Reason.UNAVAILABLE, f"Apprise failed: {type(error).__name__}"
            )
        is_delivered, lines = sending.result()
        return Response(200) if is_delivered else self._refused(lines)

    def _refused(self, lines: Sequence[str]) -> Response:
        text = "\n".join(lines)
        statuses = [int(found[1]) for line in lines for found in _STATUS.finditer(line)]
        if not statuses or len(statuses) < len(lines):
            return self._reader.failed(
                Reason.UNAVAILABLE, text.replace("\n", " ") or "Apprise does not say why"
            )
        # of several targets, the message is tried again if one of them may take it later
        status = min(statuses, key=lambda each: (each not in (408, 425, 429) and each < 500, each))
        return self._reader.read(status, {}, text.encode(errors="replace"))


def _notify(service: NotifyBase, message: Message) -> tuple[bool, Sequence[str]]:
    """Send a message. Return whether it was taken, and what Apprise logged."""
    lines = _lines_of_thread.start()
    is_delivered = service.notify(
        body=message.body, title=message.title, notify_type=message.type, body_format="text"
    )
    return bool(is_delivered), lines
