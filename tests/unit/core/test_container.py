"""What is known of one container."""

import msgspec
import pytest

from relay.core.container import Container


@pytest.mark.parametrize(
    ("container", "running", "dead"),
    [
        (Container("c"), False, False),
        (Container("c", started_ns=5), True, False),
        (Container("c", died_ns=5), False, True),
        (Container("c", started_ns=5, died_ns=6), False, True),
        (Container("c", started_ns=5, died_ns=5), False, True),
        (Container("c", started_ns=6, died_ns=5), True, False),
    ],
)
def test_whether_it_runs(container: Container, running: bool, dead: bool) -> None:
    """By the later of its last start and its last death; neither is known of a new one."""
    assert (container.is_running, container.is_dead) == (running, dead)


def test_it_is_the_same_after_it_was_stored() -> None:
    """With every field that a cause or a death's telling depends on."""
    container = Container(
        id="c",
        name="web",
        image="bb:1",
        labels={"tier": "web"},
        exit_code_hidden=True,
        signal_hidden=True,
        started_ns=1,
        died_ns=2,
        inferred_ns=3,
        requested_ns=4,
        unknown_signal_ns=5,
        oom_ns=6,
        oom_inferred_ns=7,
        stop_signal=8,
    )
    fields = Container.__struct_fields__
    assert all(getattr(container, name) != getattr(Container("x"), name) for name in fields)
    assert msgspec.json.decode(msgspec.json.encode(container), type=Container) == container


def test_the_names_in_the_store_stay() -> None:
    """A store that an earlier version wrote is read by this one."""
    container = Container("c", requested_ns=4, unknown_signal_ns=5)
    assert msgspec.json.encode(container) == b'{"id":"c","asked_ns":4,"killed_ns":5}'


def test_what_is_not_known_takes_no_room() -> None:
    """There can be ten thousand of them."""
    assert msgspec.json.encode(Container("c")) == b'{"id":"c"}'
