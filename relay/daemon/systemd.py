"""What systemd is told of relay: that it is ready, what it does, that it makes progress, its end.

See sd_notify(3): datagrams of assignments, to the socket that the environment names.
"""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import structlog

from relay.admin.health import LivenessReport, StallDetector
from relay.admin.status import StatusSnapshot

log = structlog.get_logger()

UPDATE_EVERY_S = 5.0
"""How often it is looked at what relay does."""

MAX_NAMES = 5
"""How many names of a kind a status has room for."""

PendingCounts = Callable[[], Awaitable[Mapping[str, int]]]


class SystemdNotifier:
    """The service manager that started relay, if one did and wants to be told. Nothing waits."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """See sd_notify(3) and sd_watchdog_enabled(3) for the variables."""
        self._socket = _connect(environ.get("NOTIFY_SOCKET", ""))
        self._ready_pending = True
        self._reloading = False
        self._stopping = False
        self.watchdog_s = _watchdog_s(environ)
        """How often it wants to hear of progress; None where it does not."""

    @property
    def is_enabled(self) -> bool:
        """Whether there is one."""
        return self._socket is not None

    def notify(self, **assignments: str) -> bool:
        """Tell it so (``READY="1"``); whether it got that."""
        if self._socket is None:
            return False
        message = "\n".join(f"{name}={value}" for name, value in assignments.items())
        try:
            self._socket.send(message.encode())
        except OSError:  # it has no room at the moment, or is gone
            return False
        return True

    @property
    def ready_pending(self) -> bool:
        """Whether it is to be told, and has not been yet, that relay is ready."""
        return self._ready_pending and not self._reloading

    def notify_ready(self, status: str) -> None:
        """relay is ready, and does this."""
        self._ready_pending = not self.notify(READY="1", STATUS=status)

    def reload_started(self) -> None:
        """A reload begins: systemd waits until `ready` is told. See `Type=notify-reload` in
        systemd.service(5)."""
        self._ready_pending = self._reloading = True
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self.notify(RELOADING="1", MONOTONIC_USEC=str(usec))

    def reload_finished(self) -> None:
        """It is over, whatever came of it; at relay's end that is no news."""
        self._reloading = False
        if self._stopping:
            return
        self._ready_pending = not self.notify(READY="1")

    def notify_stopping(self) -> None:
        """relay was told to stop: from here on systemd asks for no progress."""
        self._stopping = True
        self.notify(STOPPING="1", STATUS="stopping: what is under way is finished")

    def close(self) -> None:
        """Tell it nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


async def notify_loop(
    manager: SystemdNotifier,
    vitals: Callable[[], StatusSnapshot],
    progress: Callable[[], LivenessReport],
    pending: PendingCounts,
) -> None:
    """Say that relay is ready, and then what it does and that it makes progress, until cancelled.

    Runs in the loop that everything else runs in: one that is held up says nothing.
    """
    if not manager.is_enabled:
        return
    look_s = min(UPDATE_EVERY_S, manager.watchdog_s / 3) if manager.watchdog_s else UPDATE_EVERY_S
    said, watch = "", StallDetector(progress)
    while True:
        watch.check()
        if watch.stalled:
            log.error("relay.stuck", loops=watch.stalled)
        status = describe_status(vitals(), await _count_pending(progress(), vitals(), pending))
        if manager.ready_pending:
            manager.notify_ready(status)
        elif status != said:
            manager.notify(STATUS=status)
        said = status
        if not watch.suspected and manager.watchdog_s is not None:
            manager.notify(WATCHDOG="1")
        await asyncio.sleep(look_s)


def describe_status(vitals: StatusSnapshot, waiting: int | None) -> str:
    """What relay does, in a line for people; ``waiting`` is None where the store does not say."""
    named = vitals.destination_status.items()
    return ", ".join(
        [
            _describe_engines(vitals),
            *([] if waiting is None else [_describe_pending(waiting)]),
            *_describe_destinations(
                [name for name, it in named if it.failing and not it.stopped], "failing"
            ),
            *_describe_destinations([name for name, it in named if it.stopped], "stopped"),
            *_describe_store(vitals),
            *([] if vitals.reload.last_error is None else ["the last reload failed"]),
        ]
    )


def _describe_engines(vitals: StatusSnapshot) -> str:
    closed = [name for name, stream in vitals.streams.items() if not stream.is_open]
    count, all_ = len(vitals.streams) - len(closed), len(vitals.streams)
    engines = f"{all_} engine{'' if all_ == 1 else 's'}"
    if not closed:
        return f"listening to {engines}"
    return f"listening to {count} of {engines} (not to {_join_names(closed)})"


def _describe_pending(count: int) -> str:
    match count:
        case 0:
            return "nothing waits"
        case 1:
            return "1 delivery waits"
        case _:
            return f"{count} deliveries wait"


def _describe_destinations(names: list[str], state: str) -> list[str]:
    return [f"{_join_names(names)} {state}"] if names else []


def _join_names(names: list[str]) -> str:
    more = len(names) - MAX_NAMES
    shown = ", ".join(names[:MAX_NAMES])
    return f"{shown} and {more} more" if more > 0 else shown


def _describe_store(vitals: StatusSnapshot) -> list[str]:
    reason = vitals.store.reason
    return [] if reason is None else [f"store failing ({reason.value.replace('_', ' ')})"]


async def _count_pending(
    seen: LivenessReport, vitals: StatusSnapshot, pending: PendingCounts
) -> int | None:
    """How many deliveries wait; None where the store would not say so at once."""
    if seen.store_wait_s > 1 or vitals.store.reason is not None or not seen.store_is_alive:
        return None
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            return sum((await pending()).values())
    return None


def _connect(address: str) -> socket.socket | None:
    """A leading ``@`` stands for the zero byte of an abstract address: unix(7)."""
    if not address.startswith(("/", "@")):
        return None
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    made.setblocking(False)
    try:
        made.connect("\0" + address[1:] if address.startswith("@") else address)
    except OSError as error:
        log.warning("systemd.unreachable", socket=address, error=str(error))
        made.close()
        return None
    return made


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    for_another = environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid())
    usec = environ.get("WATCHDOG_USEC", "")
    if for_another or not (usec.isascii() and usec.isdecimal()) or int(usec) == 0:
        return None
    return int(usec) / 1e6
