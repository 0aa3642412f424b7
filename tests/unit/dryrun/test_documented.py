"""The example in docs/testing.md, and mutations of it."""

import contextlib
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.config.origin import built_in
from relay.core.errors import ConfigError
from relay.dryrun.compare import run_suite
from relay.dryrun.suite import load_suite
from tests import streams
from tests.support.profiles import examples

ROOT = Path(__file__).parents[3]
DOCUMENTED, *SINGLE = re.findall(
    r"```yaml\n(.*?)```", (ROOT / "docs/testing.md").read_text(), re.DOTALL
)
_PIECES = st.text(alphabet="-?:{}[]&*!|>'\" \n\t$ab019,~", max_size=4) | st.sampled_from(
    ["null", "true", "-1", "{}", "[]", "5m", "at", "to", "ops", "crashed", "type: relay", "wait"]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example configuration and a recording."""
    folder = tmp_path_factory.mktemp("documented")
    shutil.copy(ROOT / "config.example.yaml", folder / "config.yaml")
    (folder / "last-night.jsonl").write_bytes(b"\n".join(streams.read_records("docker26")))
    return folder


def test_they_hold(folder: Path) -> None:
    """The documented tests pass with the example configuration."""
    file = folder / "tests.yaml"
    file.write_text(DOCUMENTED)
    assert [it.differences for it in run_suite(load_suite(file, None, built_in, {}))] == [()] * 4


@pytest.mark.parametrize("example", SINGLE)
def test_the_others_hold(folder: Path, example: str) -> None:
    """Each is one test without its name."""
    header, _, _ = DOCUMENTED.partition("tests:")
    file = folder / "one.yaml"
    file.write_text(f"{header}tests:\n  - name: one\n{example}")
    assert [it.differences for it in run_suite(load_suite(file, None, built_in, {}))] == [()]


@given(st.data())
@settings(max_examples=examples(150), deadline=None)
def test_no_mutation_raises_anything_but_a_config_error(folder: Path, data: st.DataObject) -> None:
    """Whatever the file says, it is run or refused with `ConfigError`."""
    text = DOCUMENTED
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.integers(0, 8))
        text = text[:start] + data.draw(_PIECES) + text[end:]
    file = folder / "changed.yaml"
    file.write_text(text)
    with contextlib.suppress(ConfigError):
        list(run_suite(load_suite(file, None, built_in, {})))
