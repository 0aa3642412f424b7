"""Fixtures that the acceptance tests share: real engines, a receiver, a folder."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.docker import Binaries, PrivateEngine, find_binaries
from tests.support.engines import RELEASES, Release, find
from tests.support.podman import PodmanEngine, Programs, find_programs
from tests.support.proxy import find_haproxy
from tests.support.receiver import Receiver
from tests.support.sandboxed_engine import EngineError, SandboxedEngine


def _fetched_engine(release: Release) -> SandboxedEngine:
    return PrivateEngine(find_binaries(find(release)))


ENGINES: dict[str, Callable[[], SandboxedEngine]] = {
    "docker-20.10": lambda: PrivateEngine(find_binaries()),
    **{release.name: partial(_fetched_engine, release) for release in RELEASES},
    "podman-4.3": lambda: PodmanEngine(find_programs()),
}
"""Kind and version of the engines that relay is tested with; the value creates one."""

MAY_CHANGE = {release.name for release in RELEASES if release.may_change}
"""Those whose Debian suite may get another version at any time."""


@pytest.fixture(scope="session", autouse=True)
def _terminate_in_order() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C: all fixtures are torn down, so that no relay is left running."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    """The installed engine's programs; without them the test is skipped, or fails if required."""
    try:
        return find_binaries()
    except EngineError as missing:
        if required():
            raise
        pytest.skip(str(missing))


def required() -> bool:
    """Return whether a missing program is a failure; otherwise the test is skipped."""
    return os.environ.get("RELAY_REQUIRE_ENGINE") == "1"


@pytest.fixture(scope="session")
def podman_programs() -> Programs:
    """The installed Podman; without it the test is skipped, or fails if required."""
    try:
        return find_programs()
    except EngineError as missing:
        if required():
            raise
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def haproxy() -> str:
    """The path of haproxy; without it the test is skipped, or fails if required."""
    try:
        return find_haproxy()
    except EngineError as missing:
        if required():
            raise
        pytest.skip(str(missing))


@pytest.fixture
def podman(podman_programs: Programs) -> Iterator[PodmanEngine]:
    """A private Podman for one test."""
    with PodmanEngine(podman_programs) as engine:
        yield engine


@pytest.fixture(scope="session", params=ENGINES)
def each_engine(request: pytest.FixtureRequest) -> Iterator[tuple[str, SandboxedEngine]]:
    """Each of `ENGINES` in turn, with its name; without it the test is skipped, or fails."""
    name: str = request.param
    try:
        engine = ENGINES[name]()
        with engine:
            _check_version(name, engine)
            yield name, engine
    except EngineError as missing:
        if required() and name not in MAY_CHANGE:
            raise
        pytest.skip(f"{name}: {missing}")


@pytest.fixture(params=[name for name in ENGINES if name.startswith("docker-")])
def each_docker(request: pytest.FixtureRequest) -> Iterator[PrivateEngine]:
    """A Docker engine of each version for one test; without it the test is skipped, or fails."""
    name: str = request.param
    try:
        engine = ENGINES[name]()
        assert isinstance(engine, PrivateEngine)
        with engine:
            _check_version(name, engine)
            yield engine
    except EngineError as missing:
        if required() and name not in MAY_CHANGE:
            raise
        pytest.skip(f"{name}: {missing}")


def _check_version(name: str, engine: SandboxedEngine) -> None:
    found: str = engine.get("/version")["Version"]
    wanted = name.partition("-")[2]
    if not found.startswith(f"{wanted}."):
        raise EngineError(f"this is version {found}, not {wanted}")


@pytest.fixture(scope="session")
def engine(binaries: Binaries) -> Iterator[PrivateEngine]:
    """A private engine of the installed version, shared by these tests."""
    with PrivateEngine(binaries) as engine:
        yield engine


@pytest.fixture(autouse=True)
def _reset_engine(request: pytest.FixtureRequest) -> None:
    """Start the engine if it does not run, and remove all containers, before each test."""
    if "engine" in request.fixturenames:
        engine: PrivateEngine = request.getfixturevalue("engine")
        engine.start()
        engine.remove_containers()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A webhook receiver that answers 200 until it is configured otherwise."""
    with Receiver() as listening:
        yield listening


@pytest.fixture
def relay_folder(tmp_path: Path) -> Path:
    """An empty folder for a relay's configuration and store."""
    folder = tmp_path / "relay"
    folder.mkdir()
    return folder
