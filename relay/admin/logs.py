"""Log output: readable lines on a terminal, JSON lines elsewhere.

The event loop must never wait for a terminal that was paused or a pipe that nobody reads. Therefore
the daemon's lines are written in a thread of their own. It collects them for `LINGER_S` and writes
them together, because whenever that thread wakes up it takes the interpreter from the event loop.
"""

import io
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, TypeAlias, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from relay.config import LogLevel
from relay.core.text import escape_unprintable

TextStream = TextIO | io.TextIOBase
LogLine: TypeAlias = logging.LogRecord | EventDict
"""A line that a library logged through `logging`, or the fields of one of relay's own lines."""

MAX_QUEUED_LINES = 10_000
"""How many lines may wait for a stream that blocks. Lines beyond that are dropped."""

FLUSH_AT_LINES = 2_000
"""As soon as this many lines wait, they are written without waiting for more."""

FLUSH_S = 1.0
"""How long writing the last lines may take when the daemon ends."""

LINGER_S = 0.1
"""How long a line waits for others."""

_FILTERED = structlog.make_filtering_bound_logger(logging.NOTSET)


class _Logger(_FILTERED):  # type: ignore[misc, valid-type]
    """relay's logger. `set_level` replaces the methods of this class.

    So a change applies to the loggers that exist, and a line below the level costs one call that
    does nothing.
    """


class LogOutput(logging.Handler):
    """Writes all lines to one stream."""

    def __init__(self, stream: TextStream, render: Callable[[EventDict], str]) -> None:
        """``render`` turns the fields of one of relay's own lines into text."""
        super().__init__()
        self._stream = stream
        self._render = render
        self._in_background = False
        self._lines: deque[LogLine] = deque()
        """The lines for the writing thread."""
        self._closing = False
        self._changed = threading.Condition()
        """Guards the lines. Its lock is reentrant, because logging may interrupt logging."""

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
        what waits; if it cannot, that and all later lines are dropped.
        """
        writer = threading.Thread(target=self._write_in_turns, name="logs", daemon=True)
        self._in_background = True
        writer.start()
        try:
            yield
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify()
            writer.join(FLUSH_S)
            if not writer.is_alive():
                self._in_background = False
                self._write_waiting()

    def _put(self, line: LogLine) -> None:
        if not self._in_background:
            self._write([line])
            return
        with self._changed:
            if len(self._lines) >= MAX_QUEUED_LINES:
                return
            self._lines.append(line)
            if len(self._lines) in (1, FLUSH_AT_LINES):
                self._changed.notify()

    def _write_in_turns(self) -> None:
        """Wait for a line, linger, and write all that wait, until the output is closing."""
        closing = False
        while not closing:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closing)
                self._changed.wait_for(self._must_flush, LINGER_S)
                closing = self._closing
            self._write_waiting()

    def _must_flush(self) -> bool:
        return self._closing or len(self._lines) >= FLUSH_AT_LINES

    def _write_waiting(self) -> None:
        """Write the lines that wait now."""
        self._write([self._lines.popleft() for _ in range(len(self._lines))])

    def _write(self, lines: list[LogLine]) -> None:
        if lines:
            with suppress(OSError):
                self._stream.write("".join(map(self._text, lines)))

    def _text(self, line: LogLine) -> str:
        if isinstance(line, logging.LogRecord):
            return f"{self.format(line)}\n"
        return f"{self._render(dict(line))}\n"


def configure(stream: TextStream, *, level: LogLevel = "info") -> LogOutput:
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
        wrapper_class=_Logger,
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=False,
    )
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    output.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[remove_meta, *rendering]
        )
    )
    logging.getLogger().handlers = [output]
    set_level(level)
    return output


def set_level(level: LogLevel) -> None:
    """Leave out lines below this level from now on, those of libraries too."""
    number = logging.getLevelNamesMapping()[level.upper()]
    for name, method in vars(structlog.make_filtering_bound_logger(number)).items():
        if not name.startswith("_"):
            setattr(_Logger, name, method)
    logging.getLogger().setLevel(number)
    logging.getLogger("aiohttp").setLevel(max(number, logging.WARNING))
    for library in ("aiodocker", "asyncssh"):
        # relay itself logs a failed connection once; these libraries log it at every attempt
        logging.getLogger(library).setLevel(logging.CRITICAL)


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
