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
    logs.configure(stream, level="error")
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp").warning("quiet")
    assert stream.getvalue() == ""


def test_the_level_can_change() -> None:
    """It changes for loggers that exist, bound or not, and for libraries."""
    stream = io.StringIO()
    logs.configure(stream)
    module, bound = structlog.get_logger(), structlog.get_logger().bind(engine="here")
    library = logging.getLogger("some.library")
    for level in ("info", "debug", "warning", "info"):
        logs.set_level(level)
        module.debug(f"{level}: module debug")
        bound.info(f"{level}: bound info")
        library.debug(f"{level}: library debug")
        bound.warning(f"{level}: bound warning")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == [
        "info: bound info",
        "info: bound warning",
        *("debug: module debug", "debug: bound info"),
        *("debug: library debug", "debug: bound warning"),
        "warning: bound warning",
        "info: bound info",
        "info: bound warning",
    ]


def test_a_logger_says_what_it_would_write() -> None:
    """So its fields need not be made for nothing."""
    logs.configure(io.StringIO())
    log = structlog.get_logger().bind(engine="here")
    assert not log.is_enabled_for(logging.DEBUG)
    logs.set_level("debug")
    assert log.is_enabled_for(logging.DEBUG)


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


def numbers(stream: io.StringIO) -> list[int]:
    """The numbers of the lines, in their order."""
    return [json.loads(line)["number"] for line in stream.getvalue().splitlines()]


def test_lines_from_other_threads() -> None:
    """Lines of several threads are all written, and those of each thread in order."""
    stream = io.StringIO()

    def log(first: int) -> None:
        for number in range(first, first + 500):
            structlog.get_logger().info("line", number=number)

    with logs.configure(stream).write_in_background():
        threads = [threading.Thread(target=log, args=(first,)) for first in (0, 500, 1000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    written = numbers(stream)
    assert sorted(written) == list(range(1500))
    for first in (0, 500, 1000):
        own = [number for number in written if first <= number < first + 500]
        assert own == sorted(own)


def test_lines_before_and_after_the_thread() -> None:
    """They are written at once, in order with those of the thread."""
    stream = io.StringIO()
    output = logs.configure(stream)
    structlog.get_logger().info("before", number=1)
    assert numbers(stream) == [1]
    with output.write_in_background():
        structlog.get_logger().info("during", number=2)
    structlog.get_logger().info("after", number=3)
    assert numbers(stream) == [1, 2, 3]


class CountingStream(io.StringIO):
    """A stream that counts its writes, and says when it has this many lines."""

    def __init__(self, lines: int) -> None:
        super().__init__()
        self.lines = lines
        self.writes = 0
        self.complete = threading.Event()

    def write(self, text: str) -> int:
        self.writes += 1
        written = super().write(text)
        if self.getvalue().count("\n") >= self.lines:
            self.complete.set()
        return written


def test_lines_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread does not wake up for each line."""
    monkeypatch.setattr(logs, "LINGER_S", 60)
    stream = CountingStream(100)
    with logs.configure(stream).write_in_background():
        for number in range(100):
            structlog.get_logger().info("line", number=number)
        assert stream.writes == 0
    assert stream.writes == 1
    assert numbers(stream) == list(range(100))


def test_many_lines_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written before the time is over, so that none has to be dropped."""
    monkeypatch.setattr(logs, "LINGER_S", 60)
    monkeypatch.setattr(logs, "FLUSH_AT_LINES", 10)
    stream = CountingStream(10)
    with logs.configure(stream).write_in_background():
        for number in range(10):
            structlog.get_logger().info("line", number=number)
        assert stream.complete.wait(10)


def test_lines_beyond_the_limit_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that blocks does not fill the memory."""
    monkeypatch.setattr(logs, "LINGER_S", 60)
    monkeypatch.setattr(logs, "MAX_QUEUED_LINES", 3)
    stream = io.StringIO()
    with logs.configure(stream).write_in_background():
        for number in range(5):
            structlog.get_logger().info("line", number=number)
    assert numbers(stream) == [0, 1, 2]


def test_lines_after_a_stream_that_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are dropped: they must not hold up the exit either."""
    monkeypatch.setattr(logs, "FLUSH_S", 0.01)
    stream = BlockingStream()
    with logs.configure(stream).write_in_background():
        structlog.get_logger().info("one")
    structlog.get_logger().info("two")
    stream.goes_on.set()


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
