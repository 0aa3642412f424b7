"""Exit codes and messages of the command line."""

import io
import socket
from pathlib import Path

import pytest

from relay import __version__, cli
from relay.admin.logs import LogOutput
from tests.unit.cli.cli_store import run

pytestmark = pytest.mark.usefixtures("file")


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run the program; return its exit code."""
    monkeypatch.setattr("sys.argv", ["relay", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def test_version() -> None:
    """The version is printed in a form for scripts."""
    assert run("--version").output == f"relay, version {__version__}\n"


@pytest.mark.parametrize("command", ["check", "explain", "run"])
def test_problems_end_with_2(
    command: str, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each problem is a line with its location, on standard error, without secrets."""
    config = file.read_text()
    file.write_text(config.replace("to: audit", "to: audti").replace("action: die,", "acton: die,"))
    assert exit_code(monkeypatch, command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 3
    assert all(line.startswith(f"{file}:") for line in err.splitlines())
    assert "s3cret" not in err


def test_a_missing_file_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the file."""
    missing = tmp_path / "missing.yaml"
    assert exit_code(monkeypatch, "check", str(missing)) == 2
    assert str(missing) in capsys.readouterr().err


def test_a_store_that_cannot_be_used_ends_with_1(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message says why, without a traceback."""
    (tmp_path / "relay.db").write_bytes(b"dear diary, " * 1000)
    file.write_text(f"store: {{path: {tmp_path}/relay.db}}\n{file.read_text()}")
    monkeypatch.setattr(
        "relay.admin.logs.configure", lambda *_, **__: LogOutput(io.StringIO(), str)
    )
    assert exit_code(monkeypatch, "run") == 1
    assert capsys.readouterr().err.startswith("relay: store ")


def test_a_port_that_is_taken_ends_with_1(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message names the port; neither a socket nor a lock is left behind."""
    monkeypatch.setattr(
        "relay.admin.logs.configure", lambda *_, **__: LogOutput(io.StringIO(), str)
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        section = f"admin: {{listen: '{address}'}}\nstore: {{path: {tmp_path}/relay.db}}\n"
        file.write_text(section + file.read_text())
        for _ in range(2):
            assert exit_code(monkeypatch, "run") == 1
            assert capsys.readouterr().err == (
                f"relay: admin.listen {address} cannot be opened: "
                "it is taken by another program or, "
                "as a path, by a file: free it, or set another\n"
            )
    assert not list(tmp_path.glob("*.sock"))
