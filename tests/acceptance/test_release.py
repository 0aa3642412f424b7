"""The package that a release publishes, built by the script that a release runs."""

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import relay
from tests.acceptance.conftest import required
from tests.support.image import BUILD, fetch_wheels
from tests.support.sandboxed_engine import SYSTEM_PATH, EngineError

TIMEOUT_S = 180.0


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel."""
    try:
        wheels = fetch_wheels()
    except EngineError as missing:
        if required():
            raise
        pytest.skip(str(missing))
    folder = tmp_path_factory.mktemp("dist")
    environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PYTHON": sys.executable}
    subprocess.run(
        [BUILD, "package"],
        env={"PATH": SYSTEM_PATH, "DIST": str(folder), **environment},
        check=True,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    return folder


def test_the_wheel(dist: Path) -> None:
    """It has relay and nothing else, with the version and the extras."""
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        (metadata,) = (it for it in names if it.endswith(".dist-info/METADATA"))
        read = message_from_bytes(wheel.read(metadata))
    assert {it.split("/")[0] for it in names} == {"relay", metadata.split("/")[0]}
    assert {"relay/py.typed", "relay/cli/run.py", "relay/store/schema.sql"} <= set(names)
    assert read["Version"] == relay.__version__
    assert {"fast", "ssh", "email", "apprise"} <= set(read.get_all("Provides-Extra", []))


def test_the_source_distribution(dist: Path) -> None:
    """It has what it takes to build and test everything, as in the repository."""
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {it.partition("/")[2] for it in archive.getnames()}
    assert {"deploy/build", "deploy/container/Dockerfile", "deploy/systemd/relay.service"} <= names
    assert {"requirements.lock", "tests/acceptance/test_release.py", "docs/operating.md"} <= names
    assert not [it for it in names if it.startswith((".venv", "deploy/container/secrets"))]
