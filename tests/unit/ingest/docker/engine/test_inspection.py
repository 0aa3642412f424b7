"""Parsing inspections into snapshots."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.container import Container
from relay.ingest.docker.engine.inspection import ContainerSnapshot, parse_inspection

NEVER = "0001-01-01T00:00:00Z"
STATE = {
    "Status": "exited",
    "Running": False,
    "Restarting": False,
    "OOMKilled": False,
    "ExitCode": 7,
    "StartedAt": "2026-11-23T06:48:34.938518046Z",
    "FinishedAt": "2026-11-23T06:48:35.1Z",
}
STARTED_NS = 1795416514_938518046
FINISHED_NS = 1795416515_100000000


def inspect(
    state: dict[str, Any] | None = None,
    *,
    podman: bool = False,
    says_stopped: bool = False,
    **config: Any,
) -> ContainerSnapshot:
    """Return the snapshot of a container with this state and configuration."""
    body = {
        "Id": "075a",
        "Name": "/web",
        "Image": "sha256:1",
        "State": {**STATE, **(state or {})},
        "Config": {"Image": "bb:1", "Labels": {"tier": "web"}, **config},
    }
    content = json.dumps(body).encode()
    found = parse_inspection(content, podman=podman, says_stopped=says_stopped)
    assert found is not None
    return found


def test_a_dead_container() -> None:
    """A snapshot has the names of the container's events, and times to the nanosecond."""
    assert inspect() == ContainerSnapshot(
        id="075a",
        name="web",
        image="bb:1",
        labels={"tier": "web"},
        is_running=False,
        started_ns=STARTED_NS,
        finished_ns=FINISHED_NS,
        exit_code=7,
        oom_killed=False,
        stop_signal=None,
    )


def test_a_container_killed_for_memory() -> None:
    """The engine says whether a container was killed for memory."""
    assert inspect({"OOMKilled": True}).oom_killed


def test_a_container_that_was_started_again() -> None:
    """The time of its last death is known, the exit code is not."""
    found = inspect({"Running": True, "OOMKilled": True, "ExitCode": 0})
    assert (found.is_running, found.finished_ns) == (True, FINISHED_NS)
    assert (found.exit_code, found.oom_killed) == (None, False)


def test_a_container_that_waits_for_its_restart_is_not_running() -> None:
    """Docker calls such a container running, the snapshot does not."""
    found = inspect({"Running": True, "Restarting": True})
    assert (found.is_running, found.exit_code) == (False, 7)


def test_a_container_that_was_never_started() -> None:
    """The year 1 means never, and the exit code 0 then means nothing."""
    found = inspect({"StartedAt": NEVER, "FinishedAt": NEVER, "ExitCode": 0})
    assert (found.started_ns, found.finished_ns, found.exit_code) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("2026-11-23T06:48:34Z", 1795416514_000000000),
        ("2026-11-23T06:48:34.5Z", 1795416514_500000000),
        ("2026-11-23T06:48:34.000000001Z", 1795416514_000000001),
        ("2026-11-23T06:48:34.0000000019Z", 1795416514_000000001),
        ("2026-11-23T07:48:34.25+01:00", 1795416514_250000000),
        ("", None),
        ("soon", None),
        ("2026-11-23T06:48:34.x", None),
        ("1970-01-01T00:00:00Z", None),
        (NEVER, None),
        ("0001-01-01T00:00:00+14:00", None),
        ("2199-12-31T23:59:59.999999999Z", 7258118399_999999999),
        ("2200-01-01T00:00:00Z", None),  # relay's store cannot hold much later ones
        ("9999-12-31T23:59:59Z", None),
    ],
)
def test_times(text: str, time_ns: int | None) -> None:
    """A time has up to nine digits and any offset; anything else is no time."""
    assert inspect({"FinishedAt": text}).finished_ns == time_ns


@pytest.mark.parametrize(
    ("written", "signal"),
    [
        (None, None),
        ("", None),
        (0, None),
        ("SIGUSR1", 10),
        ("usr1", 10),
        ("10", 10),
        (10, 10),
        ("SIGRTMIN+3", 37),
        ("nonsense", None),
        (-1, None),
    ],
)
def test_stop_signals(written: str | int | None, signal: int | None) -> None:
    """Docker writes a name or a number as text, Podman a number."""
    assert inspect(StopSignal=written).stop_signal == signal


@pytest.mark.parametrize(
    ("state", "says_stopped", "stopped"),
    [
        ({"StoppedByUser": True}, True, True),
        ({}, True, False),
        ({}, False, None),
        ({"StoppedByUser": True}, False, None),
        ({"StoppedByUser": True, "Running": True}, True, None),
        ({"StoppedByUser": True, "FinishedAt": NEVER}, True, None),
    ],
)
def test_whether_somebody_stopped_it(
    state: dict[str, Any], says_stopped: bool, stopped: bool | None
) -> None:
    """Only Podman says so, and only of the last life, once that is over."""
    found = inspect(state, podman=True, says_stopped=says_stopped)
    assert found.stopped_by_user is stopped
    assert found.shows_cause is (stopped is not None)


def test_a_stop_is_proved_unless_there_was_a_signal() -> None:
    """Podman notes any signal as a stop."""
    stopped = inspect({"StoppedByUser": True}, podman=True, says_stopped=True)
    assert stopped.proves_stop(Container("c"))
    assert not stopped.proves_stop(Container("c", signal_ns=1))
    assert not inspect(says_stopped=True).proves_stop(Container("c"))


def test_labels_that_hide_real_values() -> None:
    """A label hides the real value in Docker's events; in Podman's the real value wins."""
    labels = {"exitCode": "0", "signal": "1", "name": "x"}
    assert inspect(Labels=labels).hiding_labels == {"exitCode", "signal"}
    assert inspect(Labels=labels, podman=True).hiding_labels == set()


def test_missing_fields_are_unknown() -> None:
    """Only the id is required."""
    found = parse_inspection(b'{"Id": "1", "Config": {"Labels": null}}')
    assert found is not None
    assert (found.name, found.image, found.labels) == (None, None, {})
    assert (found.is_running, found.exit_code) == (False, None)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"Id": 1}', b'{"Id": "1", "State": 3}', b"\xff"]
)
def test_an_invalid_inspection(body: bytes) -> None:
    """An invalid inspection gives no snapshot."""
    assert parse_inspection(body) is None


def test_a_deeply_nested_answer() -> None:
    """A deeply nested answer gives no snapshot, and nothing overflows."""
    assert parse_inspection(b'{"Id": "1", "x": ' + b"[" * 50_000) is None


@given(st.binary() | st.text().map(lambda text: json.dumps({"Id": text}).encode()))
def test_no_answer_raises(body: bytes) -> None:
    """For any answer there is a snapshot or none, but no error."""
    parse_inspection(body)


@given(st.text(alphabet="0123456789-T:.Z+ ", max_size=40))
def test_no_time_raises(text: str) -> None:
    """For any text in the place of a time there is a time or none, but no error."""
    inspect({"StartedAt": text})


@pytest.mark.parametrize(
    ("tty", "attached", "interactive"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_a_terminal(tty: bool, attached: bool, interactive: bool) -> None:
    """It takes both: a service may have a terminal (``tty: true``), and a pipe may be attached."""
    assert inspect(Tty=tty, AttachStdin=attached).interactive is interactive


def test_a_terminal_with_a_restart_policy() -> None:
    """What the engine starts again is a service, even if it was created with ``-it``."""
    body: dict[str, Any] = {"Id": "1", "Config": {"Tty": True, "AttachStdin": True}}
    for policy, interactive in (("always", False), ("on-failure", False), ("no", True), ("", True)):
        body["HostConfig"] = {"RestartPolicy": {"Name": policy}}
        found = parse_inspection(json.dumps(body).encode())
        assert found is not None
        assert found.interactive is interactive


@pytest.mark.parametrize(
    ("image", "log", "interactive"),
    [
        ("sha256:1", {"Type": "none", "Config": {}}, True),
        ("sha256:1", {"Type": "json-file"}, False),
        ("bb:1", {"Type": "none"}, False),
        ("sha256:1", None, False),
    ],
)
def test_a_build(image: str, log: dict[str, object] | None, interactive: bool) -> None:
    """The containers of a build are made of an image's id and keep no log."""
    body = {"Id": "1", "Image": "sha256:1", "Config": {"Image": image}}
    found = parse_inspection(json.dumps({**body, "HostConfig": {"LogConfig": log}}).encode())
    assert found is not None
    assert found.interactive is interactive


@pytest.mark.parametrize(
    ("host", "auto_remove"),
    [({"AutoRemove": True}, True), ({"AutoRemove": False}, False), ({}, False), (None, False)],
)
def test_whether_the_engine_removes_it(host: dict[str, object] | None, auto_remove: bool) -> None:
    """``--rm`` says so."""
    found = parse_inspection(json.dumps({"Id": "1", "HostConfig": host}).encode())
    assert found is not None
    assert found.auto_remove is auto_remove
