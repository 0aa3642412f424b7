"""The log's lines."""

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest
import structlog

from relay.admin import logs

HOSTILE = "web\x1b[2J\r\nlevel=critical\x9b31m"


class Terminal(io.StringIO):
    """A stream at which somebody looks."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """What a test configures does not outlive it."""
    loggers = [logging.getLogger(name) for name in (None, "aiohttp", "aiodocker", "asyncssh")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers
    structlog.reset_defaults()


def test_elsewhere_a_line_is_json() -> None:
    """With its level, its time in UTC and its fields; without those that have no value."""
    stream = io.StringIO()
    logs.configure(stream)
    structlog.get_logger().info("delivery.attempted", status=200, error=None)
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "delivery.attempted", "level": "info", "status": 200}


def test_a_librarys_line_is_json_too() -> None:
    """Whoever reads them needs one parser."""
    stream = io.StringIO()
    logs.configure(stream)
    logging.getLogger("asyncio").error("slow callback")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"]) == ("slow callback", "error")


def test_an_exception_stays_on_its_line() -> None:
    """A traceback is a value in JSON."""
    stream = io.StringIO()
    logs.configure(stream)
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("task.failed")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["exception"][0]["exc_value"] == "broken"


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_what_is_less_than_asked_for_is_left_out(kind: type[io.StringIO]) -> None:
    """Of relay's lines and of the libraries'."""
    stream = kind()
    logs.configure(stream, level=logging.ERROR)
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp").warning("quiet")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("field", ["name", "event"])
def test_on_a_terminal_nobody_elses_escape_is_obeyed(field: str) -> None:
    """Control characters in a value are shown, and the line stays one."""
    stream = Terminal()
    logs.configure(stream)
    if field == "event":
        logging.getLogger("asyncio").warning(HOSTILE)
    else:
        structlog.get_logger().info("event.taken", name=HOSTILE)
    shown = stream.getvalue()
    assert shown.count("\n") == 1
    assert "\x1b[2J" not in shown
    assert "\r" not in shown
    assert "\x9b" not in shown


def test_on_a_terminal_it_reads_well() -> None:
    """The words and the fields, without those that have no value."""
    stream = Terminal()
    logs.configure(stream)
    structlog.get_logger().warning("engine.lost", engine="here", error=None)
    shown = stream.getvalue()
    assert "engine.lost" in shown
    assert "here" in shown
    assert "error" not in shown


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_configuring_twice_writes_once(kind: type[io.StringIO]) -> None:
    """The last stream is the only one."""
    first, second = kind(), kind()
    logs.configure(first)
    logs.configure(second)
    structlog.get_logger().info("once")
    assert (first.getvalue(), second.getvalue().count("once")) == ("", 1)


class Stuck(io.StringIO):
    """A stream that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, text: str) -> int:
        self.goes_on.wait()
        return super().write(text)


def test_a_stream_that_takes_nothing_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever logs goes on, and so does the end, after a short wait."""
    monkeypatch.setattr(logs, "FLUSH_S", 0.01)
    stream = Stuck()
    with logs.configure(stream).write_in_background():
        structlog.get_logger().info("one")
    stream.goes_on.set()


def test_in_the_background_every_line_is_written() -> None:
    """In order, by the time it ends."""
    stream = io.StringIO()
    with logs.configure(stream).write_in_background():
        for number in range(100):
            structlog.get_logger().info("line", number=number)
    written = [json.loads(line)["number"] for line in stream.getvalue().splitlines()]
    assert written == list(range(100))


def test_a_traceback_holds_no_values() -> None:
    """Local variables may be secrets."""
    stream = io.StringIO()
    logs.configure(stream)
    secret = "s3cret"
    try:
        raise RuntimeError(len(secret))
    except RuntimeError:
        structlog.get_logger().exception("broken")
    assert "RuntimeError" in stream.getvalue()
    assert secret not in stream.getvalue()


def test_a_traceback_is_told_in_the_background_too() -> None:
    """The thread that writes handles no exception itself."""
    stream = io.StringIO()
    with logs.configure(stream).write_in_background():
        try:
            raise ValueError("broken")
        except ValueError:
            structlog.get_logger().exception("task.failed")
    assert json.loads(stream.getvalue())["exception"][0]["exc_value"] == "broken"
