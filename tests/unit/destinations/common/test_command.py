"""The commands that people copy into a shell."""

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import Actor
from relay.destinations.common.command import COMMAND_MAX, find_command, is_command
from tests.unit.destinations.samples import ATTACKS, CRASH

ID = "f53eb17c442d9f01c09e556df5b72f61db6064c7fbc2eacb6b92225afbf1d785"
SINCE = "docker logs --since 2026-11-23T07:28:49Z"


def command(name: str | None, id_: str = ID, action: str = "die") -> str | None:
    """The command about a problem of this container."""
    found = find_command(Actor(id_, name, None, {}), "container", action, CRASH.time_ns)
    return None if found is None else found[1]


def test_shows_the_log_from_a_minute_before_the_problem() -> None:
    """The time is by RFC 3339 in UTC, whatever the reader's zone is."""
    assert command("shop-web-1") == f"{SINCE} shop-web-1"
    assert command("sick", action="health_status") == f"{SINCE} sick"


@pytest.mark.parametrize("action", ["start_failed", "start", "destroy"])
def test_there_is_none_if_a_log_says_nothing(action: str) -> None:
    """What cannot be started has printed nothing."""
    assert command("web", action=action) is None


@pytest.mark.parametrize(
    "name", ["evil.example", "-rf", "a b", "$(reboot)", "web;reboot", "x" * 30, "", None, *ATTACKS]
)
def test_a_name_that_is_not_plain_is_replaced_by_the_id(name: str | None) -> None:
    """The short one, as the docker command shows it."""
    assert command(name) == f"{SINCE} f53eb17c442d"
    assert command(name, id_="f53e") is None


@given(st.text(), st.text())
def test_a_shell_takes_it_as_it_stands(name: str, id_: str) -> None:
    """It is four words or none, short, and nothing in it looks like a link or like markup."""
    made = command(name, id_)
    if made is not None:
        assert shlex.split(made)[:3] == ["docker", "logs", "--since"]
        assert re.fullmatch("[A-Za-z0-9: _-]+", made)
        assert len(shlex.split(made)) == 5
        assert not shlex.split(made)[4].startswith("-")
        assert len(made) <= COMMAND_MAX


def test_podman_has_a_command_of_its_own() -> None:
    """Its events of deaths have an attribute that Docker's have not."""
    actor = Actor(ID, "web", None, {"containerExitCode": "1"})
    found = find_command(actor, "container", "die", CRASH.time_ns)
    assert found == ("Logs", "podman logs --since 2026-11-23T07:28:49Z web")


def test_a_service_lists_its_tasks() -> None:
    """Their errors say why none of them starts."""
    actor = Actor("n1fc3cr1tg5ii9nqpz9mv6xyh", "shop_web", None, {})
    found = find_command(actor, "service", "start_failed", CRASH.time_ns)
    assert found == ("Tasks", "docker service ps --no-trunc shop_web")
    assert is_command("Tasks")
    assert find_command(actor, "service", "update", CRASH.time_ns) is None
