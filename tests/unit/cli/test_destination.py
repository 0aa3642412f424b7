"""``relay destination``."""

from relay.core.status import DestinationStatus
from tests.unit.cli.cli_store import Installation, failure, run, running_relay

CONDITIONS = {"ops": DestinationStatus(), "audit": DestinationStatus(stopped=True, failing=True)}


def test_enable(place: Installation) -> None:
    """The relay that runs is told, and what it says is printed."""
    with running_relay(place.store, CONDITIONS, conditions=CONDITIONS) as enabled:
        stopped, working = (
            run("destination", "enable", "audit"),
            run("destination", "enable", "ops"),
        )
    assert (stopped.exit_code, stopped.output) == (0, "audit: enabled\n")
    assert (working.exit_code, working.output) == (0, "ops: it was being sent to already\n")
    assert enabled == ["audit", "ops"]


def test_enable_nobody(place: Installation) -> None:
    """It is bad usage, whether relay runs or not; what counts is what it runs with."""
    for name in ("opps", "\x1b[2J"):
        result = run("destination", "enable", name)
        assert result.exit_code == 2
        assert f"no destination {name!r}; there are: ops, audit" in result.output
    with running_relay(place.store, ["other"]):
        result = run("destination", "enable", "ops")
    assert result.exit_code == 2
    assert "no destination 'ops'; there are: other" in result.output


def test_enable_without_a_relay(place: Installation) -> None:
    """There is nothing to enable, and that is said."""
    result = run("destination", "enable", "ops")
    assert "no relay is running: when one starts, it sends to all" in failure(result)
    assert not place.store.exists()
