"""The harness's other engines: where they come from, and that they leave nothing behind."""

from pathlib import Path

import pytest

from tests.support.engines import Mirror, Release, fetch, find, find_mirror
from tests.support.podman import PodmanEngine, Programs
from tests.support.sandboxed_engine import EngineError

STANZAS = """\
Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security

Types: deb deb-src
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian.gpg
"""

LINES = """\
# deb http://old.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian.gpg] http://mirror.example/debian bookworm main
"""


@pytest.mark.parametrize(("name", "text"), [("debian.sources", STANZAS), ("sources.list", LINES)])
def test_the_mirror_is_that_of_the_system(name: str, text: str) -> None:
    """In both of apt's formats the mirror of the suite is found, and its key."""
    found = find_mirror({Path(name): text}, "bookworm")
    assert found == Mirror("http://mirror.example/debian", "/usr/share/keyrings/debian.gpg")


def test_sources_without_the_suite_are_an_error() -> None:
    """If no source has the suite, the error names the files that were read."""
    with pytest.raises(EngineError, match=r"'trixie': debian\.sources"):
        find_mirror({Path("debian.sources"): STANZAS}, "trixie")


def test_a_missing_engine_names_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error for an engine that was not fetched names the command that fetches it."""
    monkeypatch.setenv("RELAY_ENGINES", str(tmp_path))
    with pytest.raises(EngineError, match=r"python -m tests\.support\.engines"):
        find(Release("26.1", "trixie"))


def test_an_engine_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that the engine reports counts, not the name of its folder."""
    monkeypatch.setenv("RELAY_ENGINES", str(tmp_path))
    dockerd = tmp_path / "docker-28.5" / "dockerd"
    dockerd.parent.mkdir()
    dockerd.write_text("#!/bin/sh\necho Docker version 28.50.1, build 0\n")
    dockerd.chmod(0o755)
    with pytest.raises(EngineError, match=r"no Docker 28\.5 any more: Docker version 28\.50\.1"):
        find(Release("28.5", "sid"))


def test_a_fetch_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed fetch leaves no folder that could be mistaken for an engine."""
    monkeypatch.setenv("RELAY_ENGINES", str(tmp_path / "engines"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError):
        fetch(Release("26.1", "trixie"))
    assert list((tmp_path / "engines").iterdir()) == []


def test_podmans_containers_outlive_its_service(podman: PodmanEngine) -> None:
    """When the service ends and starts again, containers keep running and the history is kept."""
    podman.run("sleep", "60", name="survivor")
    podman.stop()
    assert not podman.answers()
    podman.start()
    podman.kill()
    podman.start()
    assert podman.inspect("survivor")["State"]["Running"]
    actions = [event["Action"] for event in podman.events() if event["Type"] == "container"]
    assert actions == ["create", "init", "start"]


def test_podman_reports_an_oom_kill_only_when_inspected(podman: PodmanEngine) -> None:
    """Podman sends no ``oom`` event; inspecting the container shows the OOM kill."""
    assert podman.run_out_of_memory("greedy") == 137
    assert podman.inspect("greedy")["State"]["OOMKilled"]
    assert "oom" not in [event["Action"] for event in podman.events()]


def test_podman_leaves_nothing(podman_programs: Programs) -> None:
    """Closing it removes processes, mounts, control groups and its folder."""
    with PodmanEngine(podman_programs) as engine:
        engine.run("sleep", "60", name="left")
    assert not engine.folder.exists()
    assert str(engine.folder) not in Path("/proc/mounts").read_text()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{engine.folder.name}"))
