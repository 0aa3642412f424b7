"""``relay test``."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay import cli

CONFIG = """
destinations: {terminal: {type: console}}
routes: [{name: crashed, match: {action: die, cause: crashed}, to: terminal}]
"""
GOOD = "{name: good, events: [{action: die, name: web, exit_code: 1}], expect: [crashed]}"
BAD = "{name: bad, events: [{action: die, name: web, exit_code: 0}], expect: [crashed]}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RELAY_CONFIG", raising=False)
    Path("config.yaml").write_text(CONFIG)
    return tmp_path


def write_suite(name: str, *cases: str) -> str:
    Path(name).write_text(f"config: config.yaml\ntests: [{', '.join(cases)}]\n")
    return name


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.relay, ["test", *arguments])


def test_passing_tests() -> None:
    """Prints a line for each, and how many there were."""
    result = run(write_suite("a.yaml", GOOD), write_suite("b.yaml", GOOD))
    assert result.exit_code == 0
    assert result.output == "a.yaml\n✓ good\nb.yaml\n✓ good\n2 tests, none failed\n"


def test_a_failing_test() -> None:
    """Prints its location and the differences; exit code 1."""
    result = run(write_suite("a.yaml", GOOD, BAD))
    assert result.exit_code == 1
    assert result.output == (
        "a.yaml\n✓ good\n✗ bad (a.yaml:2)\n"
        "    expected 1: crashed\n"
        "      route crashed sent nothing\n"
        "      container die 'web' (exit_code 0, cause finished): "
        "cause: wanted 'crashed', found 'finished'\n"
        "2 tests, 1 failed\n"
    )


def test_junit() -> None:
    """The report is written although a test fails."""
    assert run(write_suite("a.yaml", BAD), "--junit", "report.xml").exit_code == 1
    assert '<testsuite name="a.yaml" tests="1" failures="1"' in Path("report.xml").read_text()


def test_wrong_files_end_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prints the problems of all files, each once, and runs nothing."""
    files = [write_suite("a.yaml", GOOD, "{}"), write_suite("b.yaml", "5"), "c.yaml"]
    monkeypatch.setattr("sys.argv", ["relay", "test", *files])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert {line.partition(":")[0] for line in err.splitlines()} == {"a.yaml", "b.yaml", "c.yaml"}


def test_no_file_is_bad_usage() -> None:
    """At least one file is required."""
    assert run().exit_code == 2
