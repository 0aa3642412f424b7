"""``relay destination``."""

from relay.core.status import DestinationStatus
from tests.unit.cli.cli_store import Installation, failure, run, running_relay

STATUSES = {"ops": DestinationStatus(), "audit": DestinationStatus(stopped=True, failing=True)}


def test_enable(installation: Installation) -> None:
    """Asks the running relay, and says whether anything was held up."""
    with running_relay(installation.store, statuses=STATUSES) as enabled:
        stopped, working = (
            run("destination", "enable", "audit"),
            run("destination", "enable", "ops"),
        )
    assert (stopped.exit_code, stopped.output) == (0, "audit: enabled\n")
    assert (working.exit_code, working.output) == (
        0,
        "ops: was neither stopped, failing nor paused\n",
    )
    assert enabled == ["audit", "ops"]


def test_enable_an_unknown_destination(installation: Installation) -> None:
    """Is bad usage; the running relay's configuration counts, if one runs."""
    for name in ("opps", "\x1b[2J"):
        result = run("destination", "enable", name)
        assert result.exit_code == 2
        assert f"no destination {name!r}; there are: ops, audit" in result.output
    with running_relay(installation.store, statuses={"other": DestinationStatus()}):
        result = run("destination", "enable", "ops")
    assert result.exit_code == 2
    assert "no destination 'ops'; there are: other" in result.output


def test_enable_without_a_relay(installation: Installation) -> None:
    """Says that there is nothing to enable, and creates no store."""
    result = run("destination", "enable", "ops")
    assert "no relay is running: when one starts, it sends to all" in failure(result)
    assert not installation.store.exists()
