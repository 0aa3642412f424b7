"""Log output: readable lines on a terminal, JSON lines elsewhere.

The event loop must never wait for a terminal that was paused or a pipe that nobody reads. Therefore
a daemon writes its lines in a thread of their own, from a bounded queue.
"""

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
"""A line that a library logged through `logging`, or the fields of one of relay's own lines."""

MAX_QUEUED_LINES = 10_000
"""How many lines may wait for a stream that blocks. Lines beyond that are dropped."""

FLUSH_S = 1.0
"""How long writing the last lines may take when the daemon ends."""

LINGER_S = 0.02
"""How long a line waits for others: each time the writing thread wakes up, the event loop waits."""

MAX_BATCH_LINES = 500
"""At most this many lines are written together."""


class LogOutput(logging.Handler):
    """Writes all lines to one stream."""

    def __init__(self, stream: TextStream, render: Callable[[EventDict], str]) -> None:
        """``render`` turns the fields of one of relay's own lines into text."""
        super().__init__()
        self._stream = stream
        self._render = render
        self._queue: queue.SimpleQueue[LogLine | None] | None = None
        """The lines for the writing thread; None while there is no such thread."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line of a library."""
        self._put(record)

    def log(self, **event: object) -> None:
        """Write one of relay's own lines.

        They bypass `logging`, which would spend time on finding the caller of each.
        """
        self._put(event)

    debug = info = warning = error = critical = log

    @contextmanager
    def write_in_background(self) -> Iterator[None]:
        """Write in a thread of its own as long as the context lasts.

        A stream that blocks holds up that thread only. At the end the thread has `FLUSH_S` to write
        what is queued.
        """
        lines: queue.SimpleQueue[LogLine | None] = queue.SimpleQueue()
        self._queue = lines
        writer = threading.Thread(
            target=self._write_queued, args=(lines,), name="logs", daemon=True
        )
        writer.start()
        try:
            yield
        finally:
            self._queue = None
            lines.put(None)
            writer.join(FLUSH_S)

    def _put(self, line: LogLine) -> None:
        if self._queue is None:
            with suppress(OSError):
                self._stream.write(self._text(line))
        elif self._queue.qsize() < MAX_QUEUED_LINES:
            self._queue.put(line)

    def _write_queued(self, lines_queue: "queue.SimpleQueue[LogLine | None]") -> None:
        """Write queued lines, many at a time, until a None comes."""
        lines: list[LogLine] = []
        while (line := lines_queue.get()) is not None:
            if not lines:
                time.sleep(LINGER_S)
            lines.append(line)
            if lines_queue.empty() or len(lines) == MAX_BATCH_LINES:
                self._write(lines)
                lines.clear()
        self._write(lines)

    def _write(self, lines: list[LogLine]) -> None:
        if lines:
            with suppress(OSError):
                self._stream.write("".join(map(self._text, lines)))

    def _text(self, line: LogLine) -> str:
        if isinstance(line, logging.LogRecord):
            return f"{self.format(line)}\n"
        return f"{self._render(dict(line))}\n"


def configure(stream: TextStream, *, level: int = logging.INFO) -> LogOutput:
    """Send the log lines of relay and of libraries to ``stream``. Returns the output.

    Text from outside (names, labels, answers) is escaped in both formats, so that it can neither
    move a terminal's cursor nor begin a line of its own.
    """
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _drop_missing_values,
    ]
    rendering = _terminal_processors() if stream.isatty() else _json_processors()
    output = LogOutput(stream, _make_renderer(rendering))
    structlog.configure(
        processors=[*shared, _capture_exception],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=False,
    )
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[remove_meta, *rendering]
        )
    )
    root = logging.getLogger()
    root.handlers = [output]
    root.setLevel(level)
    logging.getLogger("aiohttp").setLevel(max(level, logging.WARNING))
    for library in ("aiodocker", "asyncssh"):
        # relay itself logs a failed connection once; these libraries log it at every attempt
        logging.getLogger(library).setLevel(logging.CRITICAL)
    return output


def _make_renderer(processors: list[Processor]) -> Callable[[EventDict], str]:
    def render(event: EventDict) -> str:
        rendered: object = event
        for processor in processors:
            rendered = processor(None, "", cast("EventDict", rendered))
        return str(rendered)

    return render


def _capture_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the exception that is being handled: the writing thread has no access to it."""
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
    # local variables in a traceback may be secrets
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]


def _drop_missing_values(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Leave out fields that are None."""
    return {key: value for key, value in event.items() if value is not None}


def _escape_message(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape the message: messages of libraries can contain text from outside."""
    return {**event, "event": escape_unprintable(str(event["event"]))}
