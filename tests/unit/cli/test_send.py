"""``relay send``."""

import json
import socket
from pathlib import Path

import pytest

from tests.unit.cli.cli_store import run

pytestmark = pytest.mark.usefixtures("file")


def test_send_to_an_unknown_destination() -> None:
    """Is bad usage; the message lists the destinations."""
    result = run("send", "opps")
    assert result.exit_code == 2
    assert "no destination 'opps'; there are: terminal, ops, audit" in result.output


def test_send_prints_the_answer(capfd: pytest.CaptureFixture[str]) -> None:
    """A console destination prints the notification; the command prints its answer."""
    result = run("send", "terminal")
    assert result.exit_code == 0
    assert json.loads(capfd.readouterr().out)["route"] == "test"
    assert result.stdout == "terminal: answered 200\n"


def test_send_ends_with_1_if_not_delivered(file: Path) -> None:
    """Prints why, and what relay would do then, without secrets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}/"
        file.write_text(file.read_text().replace("127.0.0.1:1/", address))
        result = run("send", "audit")
    assert result.exit_code == 1
    assert result.output == (
        "audit: no answer (connection): Connection refused\n"
        "audit: relay would try this again (connection)\n"
    )
