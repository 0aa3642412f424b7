"""What the acceptance tests share: a real engine, a receiver, a folder."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.docker import Binaries, PrivateEngine, find_binaries
from tests.support.engines import RELEASES, Release, find
from tests.support.podman import PodmanEngine, Programs, find_programs
from tests.support.receiver import Receiver
from tests.support.sandboxed_engine import EngineError, SandboxedEngine


def _fetched(release: Release) -> SandboxedEngine:
    return PrivateEngine(find_binaries(find(release)))


AGES: dict[str, Callable[[], SandboxedEngine]] = {
    "docker-20.10": lambda: PrivateEngine(find_binaries()),
    **{release.name: partial(_fetched, release) for release in RELEASES},
    "podman-4.3": lambda: PodmanEngine(find_programs()),
}
"""Make and version of the engines that relay is tried on, and how to have one."""

MOVING = {release.name for release in RELEASES if release.moving}
"""Those that may be gone at any time, from a suite that moves on."""


@pytest.fixture(scope="session", autouse=True)
def _terminate_in_order() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C: through every fixture, so that no relay is left running."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def binaries() -> Binaries:
    """The programs of the machine's own engine; where they are missing, why there is no test."""
    try:
        return find_binaries()
    except EngineError as missing:
        if required():
            raise
        pytest.skip(str(missing))


def required() -> bool:
    """Whether what a test needs of the machine must be there."""
    return os.environ.get("RELAY_REQUIRE_ENGINE") == "1"


@pytest.fixture(scope="session")
def podman_programs() -> Programs:
    """The machine's own Podman; where it is missing, why there is no test."""
    try:
        return find_programs()
    except EngineError as missing:
        if required():
            raise
        pytest.skip(str(missing))


@pytest.fixture
def podman(podman_programs: Programs) -> Iterator[PodmanEngine]:
    """A Podman, started for one test and for nobody else."""
    with PodmanEngine(podman_programs) as private:
        yield private


@pytest.fixture(scope="session", params=AGES)
def aged_engine(request: pytest.FixtureRequest) -> Iterator[tuple[str, SandboxedEngine]]:
    """Each make and age of engine in turn, with its name; where there is none, why."""
    age: str = request.param
    try:
        engine = AGES[age]()
        with engine:
            _check_version(age, engine)
            yield age, engine
    except EngineError as missing:
        if required() and age not in MOVING:
            raise
        pytest.skip(f"{age}: {missing}")


def _check_version(age: str, engine: SandboxedEngine) -> None:
    found: str = engine.get("/version")["Version"]
    wanted = age.partition("-")[2]
    if not found.startswith(f"{wanted}."):
        raise EngineError(f"this is {found}, not {wanted}")


@pytest.fixture(scope="session")
def engine(binaries: Binaries) -> Iterator[PrivateEngine]:
    """An engine of the machine's own kind, started for these tests and for nobody else."""
    with PrivateEngine(binaries) as private:
        yield private


@pytest.fixture(autouse=True)
def _engine_as_new(request: pytest.FixtureRequest) -> None:
    """Whatever the test before did: the engine runs, and has no containers."""
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
