"""Logs: readable on a terminal, JSON lines elsewhere."""

import io
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, TypeAlias, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from relay.core.text import escape_unprintable

TextStream = TextIO | io.TextIOBase
LogLine: TypeAlias = logging.LogRecord | EventDict
"""A library's line, or what one of relay's own says."""

MAX_QUEUED_LINES = 10_000
"""How many log lines may wait for a stream that takes none; more are dropped."""

FLUSH_S = 1.0
"""How long the last lines may take at the end."""

LINGER_S = 0.02
"""How long a line waits for others: each time the thread that writes wakes up holds up the loop."""

MAX_BATCH_LINES = 500
"""How many lines are written together at most."""


class LogOutput(logging.Handler):
    """Where all lines go."""

    def __init__(self, stream: TextStream, render: Callable[[EventDict], str]) -> None:
        """``render`` makes a text of what one of relay's own lines says."""
        super().__init__()
        self._stream = stream
        self._render = render
        self._queue: queue.SimpleQueue[LogLine | None] | None = None
        """What another thread is to write; None while there is none."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take a library's line."""
        self._put(record)

    def log(self, **event: object) -> None:
        """Take one of relay's own.

        It comes past `logging`, which would look for the caller of each.
        """
        self._put(event)

    debug = info = warning = error = critical = log

    @contextmanager
    def write_in_background(self) -> Iterator[None]:
        """Write in a thread, for a terminal that was paused or a pipe that nobody reads.

        Such a stream blocks whoever writes to it, and the loop must never wait.
        """
        waiting: queue.SimpleQueue[LogLine | None] = queue.SimpleQueue()
        self._queue = waiting
        writer = threading.Thread(target=self._write_all, args=(waiting,), name="logs", daemon=True)
        writer.start()
        try:
            yield
        finally:
            self._queue = None
            waiting.put(None)
            writer.join(FLUSH_S)

    def _put(self, line: LogLine) -> None:
        if self._queue is None:
            with suppress(OSError):
                self._stream.write(self._text(line))
        elif self._queue.qsize() < MAX_QUEUED_LINES:
            self._queue.put(line)

    def _write_all(self, waiting: "queue.SimpleQueue[LogLine | None]") -> None:
        """Write what waits, all of it at once, until there is None."""
        lines: list[LogLine] = []
        while (line := waiting.get()) is not None:
            if not lines:
                time.sleep(LINGER_S)
            lines.append(line)
            if waiting.empty() or len(lines) == MAX_BATCH_LINES:
                self._write(lines)
                lines.clear()
        self._write(lines)

    def _write(self, lines: list[LogLine]) -> None:
        if lines:
            with suppress(OSError):
                self._stream.write("".join(map(self._text, lines)))

    def _text(self, line: LogLine) -> str:
        shown = (
            self.format(line) if isinstance(line, logging.LogRecord) else self._render(dict(line))
        )
        return f"{shown}\n"


def configure(stream: TextStream, *, level: int = logging.INFO) -> LogOutput:
    """Send relay's log lines, and those of the libraries, to ``stream``; returns what writes them.

    What comes from outside (names, labels, answers) is escaped in both forms, so that none of it
    can move a terminal's cursor or begin a line of its own.
    """
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _drop_missing_values,
    ]
    look = _terminal_processors() if stream.isatty() else _json_processors()
    output = LogOutput(stream, _make_renderer(look))
    structlog.configure(
        processors=[*shared, _capture_exception],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=False,
    )
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[remove_meta, *look]
        )
    )
    root = logging.getLogger()
    root.handlers = [output]
    root.setLevel(level)
    logging.getLogger("aiohttp").setLevel(max(level, logging.WARNING))
    for library in ("aiodocker", "asyncssh"):
        # The listener says what failed, once; they say it at every try.
        logging.getLogger(library).setLevel(logging.CRITICAL)
    return output


def _make_renderer(look: list[Processor]) -> Callable[[EventDict], str]:
    def render(event: EventDict) -> str:
        shown: object = event
        for processor in look:
            shown = processor(None, "", cast("EventDict", shown))
        return str(shown)

    return render


def _capture_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The line with the exception that is handled, which another thread could not find."""
    if event.get("exc_info") is True:
        event["exc_info"] = sys.exc_info()
    return event


def _terminal_processors() -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=True,
        repr_native_str=True,
        pad_event_to=24,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_escape_message, renderer]


def _json_processors() -> list[Processor]:
    # Local variables in a traceback may be secrets.
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]


def _drop_missing_values(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The line without what it has no value for."""
    return {key: value for key, value in event.items() if value is not None}


def _escape_message(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The line with its first words escaped: a library's hold what it was told."""
    return {**event, "event": escape_unprintable(str(event["event"]))}
