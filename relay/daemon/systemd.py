"""Notifies systemd of relay's state: ready, reloading, stopping, a status line, and the watchdog.

systemd starts units that depend on relay only when relay is ready, waits for a reload, and restarts
relay if relay makes no progress. It learns this from datagrams to the socket that ``NOTIFY_SOCKET``
names: sd_notify(3). Sending a datagram never waits. Without that variable nothing is sent. The
notifier ends with the daemon; the watchdog ends with the notification that relay is stopping.
"""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog

from relay.admin.health import LivenessReport, StallDetector, StatusSnapshot

log = structlog.get_logger()

UPDATE_EVERY_S = 5.0
"""How often the status line is updated."""

MAX_NAMES = 5
"""At most this many names of engines, and of destinations, are in a status line."""

PENDING_TIMEOUT_S = 1.0
"""How long the status line waits for the store to count deliveries."""

PendingCounts = Callable[[], Awaitable[Mapping[str, int]]]
"""Asks the store for the number of waiting deliveries, by destination."""


class SystemdNotifier:
    """Sends notifications to the service manager that started relay, if there is one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """See sd_notify(3) and sd_watchdog_enabled(3) for the variables."""
        self._socket = _connect(environ.get("NOTIFY_SOCKET", ""))
        self._ready_pending = True
        self._reloading = False
        self._stopping = False
        self.watchdog_s = _watchdog_s(environ)
        """The longest time between two signs of progress; None if systemd wants none."""

    @property
    def is_enabled(self) -> bool:
        """Whether there is a service manager to notify."""
        return self._socket is not None

    def notify(self, **assignments: str) -> bool:
        """Send assignments (``READY="1"``) to systemd. Returns True if the datagram was sent."""
        if self._socket is None:
            return False
        message = "\n".join(f"{name}={value}" for name, value in assignments.items())
        try:
            self._socket.send(message.encode())
        except OSError:  # its queue is full, or systemd is gone
            return False
        return True

    @property
    def ready_pending(self) -> bool:
        """Whether systemd still has to be notified that relay is ready."""
        return self._ready_pending and not self._reloading

    def notify_ready(self, status: str) -> None:
        """Notify systemd that relay is ready, with a status line."""
        self._ready_pending = not self.notify(READY="1", STATUS=status)

    def reload_started(self) -> None:
        """Notify systemd of a reload; it waits until `reload_finished`.

        See ``Type=notify-reload`` in systemd.service(5).
        """
        self._ready_pending = self._reloading = True
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.notify(RELOADING="1", MONOTONIC_USEC=str(usec))

    def reload_finished(self) -> None:
        """Notify systemd that the reload is over, successful or not, unless relay is stopping."""
        self._reloading = False
        if not self._stopping:
            self._ready_pending = not self.notify(READY="1")

    def notify_stopping(self) -> None:
        """Notify systemd that relay stops: from now on systemd expects no sign of progress."""
        self._stopping = True
        self.notify(STOPPING="1", STATUS="stopping: finishing what is under way")

    def close(self) -> None:
        """Send nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


async def notify_loop(
    notifier: SystemdNotifier,
    snapshot: Callable[[], StatusSnapshot],
    liveness: Callable[[], LivenessReport],
    pending: PendingCounts,
) -> None:
    """Notify systemd that relay is ready, then of its status and its progress, until cancelled.

    This runs in the same event loop as everything else, so that no sign of progress is sent while
    that loop is held up.
    """
    if not notifier.is_enabled:
        return
    watchdog_s = notifier.watchdog_s
    update_s = min(UPDATE_EVERY_S, watchdog_s / 3) if watchdog_s else UPDATE_EVERY_S
    sent, detector = "", StallDetector(liveness)
    while True:
        detector.check()
        if detector.stalled:
            log.error("relay.stuck", loops=detector.stalled)
        status = describe_status(snapshot(), await _count_pending(liveness(), snapshot(), pending))
        if notifier.ready_pending:
            notifier.notify_ready(status)
        elif status != sent:
            notifier.notify(STATUS=status)
        sent = status
        if not detector.suspected and watchdog_s is not None:
            notifier.notify(WATCHDOG="1")
        await asyncio.sleep(update_s)


async def _count_pending(
    report: LivenessReport, snapshot: StatusSnapshot, pending: PendingCounts
) -> int | None:
    """Return how many deliveries wait; None if the store does not answer soon."""
    is_slow = report.store_wait_s > PENDING_TIMEOUT_S
    if is_slow or snapshot.store.reason is not None or not report.store_is_alive:
        return None
    with suppress(TimeoutError):
        async with asyncio.timeout(PENDING_TIMEOUT_S):
            return sum((await pending()).values())
    return None


def describe_status(snapshot: StatusSnapshot, pending: int | None) -> str:
    """Return the status line; ``pending`` is None if the store does not answer."""
    destinations = snapshot.destination_status.items()
    failing = [name for name, status in destinations if status.failing and not status.stopped]
    unconnected = [name for name, status in destinations if status.is_only_not_connected]
    stopped = [name for name, status in destinations if status.stopped]
    parts = [_describe_engines(snapshot)]
    if pending is not None:
        parts.append(_describe_pending(pending))
    if failing:
        parts.append(f"{_join_names(failing)} failing")
    if unconnected:
        parts.append(f"{_join_names(unconnected)} not connected")
    if stopped:
        parts.append(f"{_join_names(stopped)} stopped")
    if (reason := snapshot.store.reason) is not None:
        parts.append(f"store failing ({reason.value.replace('_', ' ')})")
    if snapshot.reload.last_error is not None:
        parts.append("the last reload failed")
    return ", ".join(parts)


def _describe_engines(snapshot: StatusSnapshot) -> str:
    closed = [name for name, stream in snapshot.streams.items() if not stream.is_open]
    total = len(snapshot.streams)
    engines = f"{total} engine{'' if total == 1 else 's'}"
    if not closed:
        return f"listening to {engines}"
    return f"listening to {total - len(closed)} of {engines} (not to {_join_names(closed)})"


def _describe_pending(count: int) -> str:
    match count:
        case 0:
            return "nothing waits"
        case 1:
            return "1 delivery waits"
        case _:
            return f"{count} deliveries wait"


def _join_names(names: list[str]) -> str:
    more = len(names) - MAX_NAMES
    shown = ", ".join(names[:MAX_NAMES])
    return f"{shown} and {more} more" if more > 0 else shown


def _connect(address: str) -> socket.socket | None:
    """Connect to systemd's socket. A leading ``@`` marks an abstract address: unix(7)."""
    if not address.startswith(("/", "@")):
        return None
    notify_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    notify_socket.setblocking(False)
    try:
        notify_socket.connect("\0" + address[1:] if address.startswith("@") else address)
    except OSError as error:
        log.warning("systemd.unreachable", socket=address, error=str(error))
        notify_socket.close()
        return None
    return notify_socket


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    is_for_other_process = environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid())
    usec = environ.get("WATCHDOG_USEC", "")
    if is_for_other_process or not (usec.isascii() and usec.isdecimal()) or int(usec) == 0:
        return None
    return int(usec) / 1e6
