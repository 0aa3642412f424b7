"""Logs: readable on a terminal, JSON lines elsewhere."""

import logging
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure(stream: TextIO, *, level: int = logging.INFO) -> None:
    """Send relay's log lines, and those of the libraries, to ``stream``.

    What comes from outside (names, labels, answers) is escaped in both forms, so that none of it
    can move a terminal's cursor or begin a line of its own.
    """
    terminal = stream.isatty()
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_nothing,
    ]
    final: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=True, repr_native_str=True, pad_event_to=24)]
        if terminal
        else [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    )
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
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    for library in ("aiodocker", "asyncssh"):
        # The listener says what failed, once; they say it at every try.
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _without_nothing(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The line without what it has no value for."""
    return {key: value for key, value in event.items() if value is not None}
