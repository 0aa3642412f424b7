"""Logs: readable on a terminal, JSON lines elsewhere."""

import io
import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, TypeAlias

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from relay.formats.text import visible

Stream = TextIO | io.TextIOBase
Direct: TypeAlias = "logging.StreamHandler[Stream]"

BACKLOG = 10_000
"""How many log lines may wait for a stream that takes none; more are dropped."""

FLUSH_S = 1.0
"""How long the last lines may take at the end."""


def configure(stream: Stream, *, level: int = logging.INFO) -> Direct:
    """Send relay's log lines, and those of the libraries, to ``stream``; returns what writes them.

    What comes from outside (names, labels, answers) is escaped in both forms, so that none of it
    can move a terminal's cursor or begin a line of its own.
    """
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_nothing,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    look = _for_people() if stream.isatty() else _for_programs()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[remove_meta, *look]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.getLogger("aiohttp").setLevel(max(level, logging.WARNING))
    for library in ("aiodocker", "asyncssh"):
        # The listener says what failed, once; they say it at every try.
        logging.getLogger(library).setLevel(logging.CRITICAL)
    return handler


def _for_people() -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=True,
        repr_native_str=True,
        pad_event_to=24,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_printable_event, renderer]


def _for_programs() -> list[Processor]:
    # Local variables in a traceback may be secrets.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]


@contextmanager
def in_background(direct: Direct) -> Iterator[None]:
    """Write log lines in a thread, for a terminal that was paused or a pipe that nobody reads.

    Such a stream blocks whoever writes to it, and the loop must never wait.
    """
    root = logging.getLogger()
    before = root.handlers
    waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(BACKLOG)
    writer = threading.Thread(target=_write, args=(waiting, direct), name="logs", daemon=True)
    writer.start()
    root.handlers = [_Handover(waiting)]
    try:
        yield
    finally:
        root.handlers = before
        with suppress(queue.Full):
            waiting.put_nowait(None)
        writer.join(FLUSH_S)


class _Handover(logging.Handler):
    """Puts lines where the writing thread finds them, and never waits."""

    def __init__(self, waiting: queue.Queue[logging.LogRecord | None]) -> None:
        super().__init__()
        self._waiting = waiting

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(queue.Full):
            self._waiting.put_nowait(record)


def _write(waiting: queue.Queue[logging.LogRecord | None], direct: Direct) -> None:
    # Not through the handler: the end of the process would wait for its lock.
    while (record := waiting.get()) is not None:
        with suppress(OSError):
            direct.stream.write(direct.format(record) + "\n")


def _without_nothing(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The line without what it has no value for."""
    return {key: value for key, value in event.items() if value is not None}


def _printable_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The line with its first words escaped: a library's hold what it was told."""
    return {**event, "event": visible(str(event["event"]))}
