"""The test harness itself: its engines, its receiver and its processes do what they promise."""

import json
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import Binaries, PrivateEngine
from tests.support.receiver import Misbehaviour, Receiver, Reply


def test_an_exit_code_is_in_the_die_event(engine: PrivateEngine) -> None:
    """The ``die`` event of a container that exits with 3 has exitCode 3, and its labels."""
    since_ns = time.time_ns()
    container = engine.run("sh", "-c", "exit 3", name="three", labels={"alert": "yes"})

    assert engine.wait("three") == 3
    die = engine.wait_for_event("die", "three", since_ns=since_ns)
    assert die["Actor"]["ID"] == container
    assert die["Actor"]["Attributes"]["exitCode"] == "3"
    assert die["Actor"]["Attributes"]["alert"] == "yes"
    assert die in engine.events(since_ns)


def test_an_oom_kill_is_real(engine: PrivateEngine) -> None:
    """A container that exceeds its memory limit causes ``oom`` and ``die`` with 137."""
    since_ns = time.time_ns()
    oom = engine.report_out_of_memory("greedy")

    die = engine.wait_for_event("die", "greedy", since_ns=since_ns)
    assert oom in engine.events(since_ns)
    assert die["Actor"]["Attributes"]["exitCode"] == "137"
    assert engine.inspect("greedy")["State"]["OOMKilled"]


def test_a_health_check_fails(engine: PrivateEngine) -> None:
    """A container whose health check fails becomes unhealthy."""
    since_ns = time.time_ns()
    health = ["--health-cmd=test -e /ok", "--health-interval=100ms", "--health-retries=1"]
    engine.run("sleep", "60", name="ill", options=health)

    engine.wait_for_event("health_status: unhealthy", "ill", since_ns=since_ns)


def test_a_process_killed_from_the_host_has_no_kill_event(engine: PrivateEngine) -> None:
    """Killing a container's process from the host causes ``die`` with 137 and no ``kill``."""
    since_ns = time.time_ns()
    engine.run("sleep", "60", name="shot")
    engine.kill_process("shot")

    die = engine.wait_for_event("die", "shot", since_ns=since_ns)
    assert die["Actor"]["Attributes"]["exitCode"] == "137"
    assert "kill" not in [event["Action"] for event in engine.events(since_ns)]


def test_a_killed_engine_restarts_with_its_data(engine: PrivateEngine) -> None:
    """After SIGKILL and a new start the engine knows its containers and how they ended."""
    container = engine.run("sleep", "60", name="survivor", options=["--init"])
    engine.kill()
    assert not engine.answers()

    killed_ns = time.time_ns()
    engine.start()
    assert engine.inspect("survivor")["Id"] == container
    assert engine.wait_for_event("die", "survivor", since_ns=killed_ns)


def test_a_stopped_engine_restarts(engine: PrivateEngine) -> None:
    """A stopped engine starts again with its images, and with an empty history."""
    engine.stop()
    assert not engine.answers()

    engine.start()
    assert engine.docker("images", "--quiet")
    assert engine.events() == []


def test_events_made_in_bulk_are_in_the_history(engine: PrivateEngine) -> None:
    """Events made in bulk are in the history, in the order in which they were made."""
    since_ns = time.time_ns()
    made = engine.make_events(200)

    seen = [(event["Action"], event["Actor"]["ID"]) for event in engine.events(since_ns)]
    assert seen == made


def test_engines_are_isolated_and_leave_nothing(binaries: Binaries) -> None:
    """Two engines do not see each other's containers; closing them removes everything."""
    with PrivateEngine(binaries) as one, PrivateEngine(binaries) as other:
        one.run("sleep", "60", name="mine")
        assert one.docker("ps", "--quiet")
        assert not other.docker("ps", "--quiet")
    for closed in (one, other):
        assert not closed.folder.exists()
        assert str(closed.folder) not in Path("/proc/mounts").read_text()
        assert not list(Path("/sys/fs/cgroup").glob(f"**/{closed.folder.name}"))


def post(url: str, body: object) -> int:
    """Post ``body`` as JSON; return the status."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=5)
    try:
        connection.request("POST", parts.path, json.dumps(body), {"X-Kind": "test"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_receiver_answers_as_configured_and_keeps_requests(receiver: Receiver) -> None:
    """The answer depends on the path or on a callable; requests are kept in order."""
    receiver.answer(lambda request: 500 if request.number == 0 else Reply(204))
    receiver.answer(429, path="/busy")

    statuses = [post(receiver.url(path), {"n": n}) for n, path in enumerate(("/a", "/b", "/busy"))]
    assert statuses == [500, 204, 429]
    requests = receiver.wait_for(3)
    assert [(it.path, it.json, it.headers["x-kind"]) for it in requests] == [
        ("/a", {"n": 0}, "test"),
        ("/b", {"n": 1}, "test"),
        ("/busy", {"n": 2}, "test"),
    ]


def test_the_receiver_can_misbehave(receiver: Receiver) -> None:
    """It resets connections, refuses them while it is off, and then uses the same port again."""
    receiver.answer(Misbehaviour.RESET)
    with pytest.raises(ConnectionResetError):
        post(receiver.url(), {})
    receiver.switch_off()
    with pytest.raises(ConnectionRefusedError):
        post(receiver.url(), {})
    receiver.switch_on()
    receiver.answer(200)
    assert post(receiver.url(), {}) == 200
    assert len(receiver.received) == 2


def test_switching_off_ends_hanging_requests(receiver: Receiver) -> None:
    """A request that gets no answer has arrived; switching off cuts its connection."""
    receiver.answer(Misbehaviour.HANG)
    parts = urlsplit(receiver.url())
    connection = HTTPConnection(parts.netloc, timeout=5)
    connection.request("POST", "/", b"{}")
    receiver.wait_for(1)
    receiver.switch_off()
    with pytest.raises(ConnectionError):
        connection.getresponse()
    connection.close()


def test_a_failed_wait_shows_what_arrived(receiver: Receiver) -> None:
    """The error of a wait lists the requests that arrived."""
    post(receiver.url("/a"), {"only": "this"})
    with pytest.raises(AssertionError, match=r"1 requests:\n  0: POST /a .*only"):
        receiver.wait_for(2, timeout_s=0.01)


def test_a_broken_callable_fails_the_wait(receiver: Receiver) -> None:
    """An error in a test's callable is raised by the wait, and not lost in a thread."""
    receiver.answer(lambda request: 1 // 0)
    with pytest.raises(ConnectionError):
        post(receiver.url(), {})
    with pytest.raises(AssertionError, match="receiver itself failed"):
        receiver.wait_for(2)


STAND_IN = """
import json, os, signal, sys
def end(*_):
    print("bye", flush=True)
    sys.exit(7)
signal.signal(signal.SIGTERM, end)
print("not a log line", file=sys.stderr)
for n in (1, 2):
    print(json.dumps({"event": "up", "n": n, "env": sorted(os.environ)}), file=sys.stderr)
sys.stderr.flush()
if "--die" not in sys.argv:
    signal.pause()
"""


def run_stand_in(folder: Path, *flags: str) -> RelayProcess:
    """Return a process that stands in for relay, and logs as relay does."""
    script = folder / "stand_in.py"
    script.write_text(STAND_IN)
    config = write_config(folder, routes=[{"name": "all", "to": "ops"}])
    return RelayProcess(config, env={"TOKEN": "x"}, program=(sys.executable, str(script), *flags))


def test_a_process_logs_and_ends_on_sigterm(relay_folder: Path) -> None:
    """Log lines are found by event and fields; after SIGTERM the exit code is the process's."""
    with run_stand_in(relay_folder) as relay:
        line = relay.wait_for_log("up", n=2)
        assert relay.wait_for_log("up", at_least=2) == line
        assert set(line["env"]) <= {"PATH", "HOME", "LANG", "TOKEN", "LC_CTYPE"}
        assert "not a log line" in relay.stderr
        assert relay.terminate() == 7
        assert relay.stdout == "bye\n"


def test_a_process_is_killed(relay_folder: Path) -> None:
    """After `kill9` the process does nothing more."""
    with run_stand_in(relay_folder) as relay:
        relay.wait_for_log("up")
        relay.kill9()
        assert relay.wait() == -9
        assert relay.stdout == ""


def test_waiting_for_the_log_of_a_dead_process_ends_at_once(relay_folder: Path) -> None:
    """Without a running process a wait for a log line fails at once, and shows the log."""
    with run_stand_in(relay_folder, "--die") as relay, pytest.raises(AssertionError, match="ended"):
        relay.wait_for_log("never", timeout_s=600)
