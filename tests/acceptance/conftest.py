"""What the acceptance tests share: a real engine, a receiver, a folder."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docker import Binaries, EngineError, PrivateEngine, find_binaries
from tests.support.receiver import Receiver


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
        if os.environ.get("RELAY_REQUIRE_ENGINE") == "1":
            raise
        pytest.skip(str(missing))


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
    """A webhook receiver that answers 200 until told otherwise."""
    with Receiver() as listening:
        yield listening


@pytest.fixture
def relay_folder(tmp_path: Path) -> Path:
    """An empty folder for a relay's configuration and store."""
    folder = tmp_path / "relay"
    folder.mkdir()
    return folder
