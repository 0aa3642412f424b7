"""Log lines on a terminal and elsewhere."""

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
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Undo what a test configures."""
    loggers = [logging.getLogger(name) for name in (None, "aiohttp", "aiodocker", "asyncssh")]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers
    structlog.reset_defaults()


def test_lines_are_json_unless_on_a_terminal() -> None:
    """A line has its level, its time in UTC and its fields, except those that are None."""
    stream = io.StringIO()
    logs.configure(stream)
    structlog.get_logger().info("delivery.attempted", status=200, error=None)
    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "delivery.attempted", "level": "info", "status": 200}


def test_library_lines_are_json_too() -> None:
    """Whoever reads the log needs one parser only."""
    stream = io.StringIO()
    logs.configure(stream)
    logging.getLogger("asyncio").error("slow callback")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"]) == ("slow callback", "error")


def test_an_exception_stays_on_its_line() -> None:
    """A traceback is a value in the JSON of its line."""
    stream = io.StringIO()
    logs.configure(stream)
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("task.failed")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["exception"][0]["exc_value"] == "broken"


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_lines_below_the_level_are_left_out(kind: type[io.StringIO]) -> None:
    """The level holds for relay's lines and those of libraries."""
    stream = kind()
    logs.configure(stream, level=logging.ERROR)
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp").warning("quiet")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("field", ["name", "event"])
def test_control_characters_are_escaped_on_a_terminal(field: str) -> None:
    """Control characters from outside are escaped, and the line stays one line."""
    stream = Terminal()
    logs.configure(stream)
    if field == "event":
        logging.getLogger("asyncio").warning(HOSTILE)
    else:
        structlog.get_logger().info("event.taken", name=HOSTILE)
    output = stream.getvalue()
    assert output.count("\n") == 1
    assert "\x1b[2J" not in output
    assert "\r" not in output
    assert "\x9b" not in output


def test_a_readable_line_on_a_terminal() -> None:
    """A line shows the message and the fields, except those that are None."""
    stream = Terminal()
    logs.configure(stream)
    structlog.get_logger().warning("engine.lost", engine="here", error=None)
    output = stream.getvalue()
    assert "engine.lost" in output
    assert "here" in output
    assert "error" not in output


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_configuring_twice_writes_once(kind: type[io.StringIO]) -> None:
    """Only the last configured stream is written to."""
    first, second = kind(), kind()
    logs.configure(first)
    logs.configure(second)
    structlog.get_logger().info("once")
    assert (first.getvalue(), second.getvalue().count("once")) == ("", 1)


class BlockingStream(io.StringIO):
    """A stream whose writes block until they are released."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, text: str) -> int:
        self.goes_on.wait()
        return super().write(text)


def test_a_blocking_stream_blocks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever logs goes on, and the end waits for a short time only."""
    monkeypatch.setattr(logs, "FLUSH_S", 0.01)
    stream = BlockingStream()
    with logs.configure(stream).write_in_background():
        structlog.get_logger().info("one")
    stream.goes_on.set()


def test_background_writing_loses_no_line() -> None:
    """Every line has been written, in order, when the context ends."""
    stream = io.StringIO()
    with logs.configure(stream).write_in_background():
        for number in range(100):
            structlog.get_logger().info("line", number=number)
    written = [json.loads(line)["number"] for line in stream.getvalue().splitlines()]
    assert written == list(range(100))


def test_a_traceback_contains_no_local_variables() -> None:
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


def test_a_traceback_is_written_in_the_background() -> None:
    """The thread that writes handles no exception itself, so the line must carry it."""
    stream = io.StringIO()
    with logs.configure(stream).write_in_background():
        try:
            raise ValueError("broken")
        except ValueError:
            structlog.get_logger().exception("task.failed")
    assert json.loads(stream.getvalue())["exception"][0]["exc_value"] == "broken"
