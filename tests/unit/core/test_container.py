"""The state of one container."""

import msgspec
import pytest

from relay.core.checkpoint import Container


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
    """The later of its last start and its last death decides; a new one has neither."""
    assert (container.is_running, container.is_dead) == (running, dead)


def test_it_survives_the_store_unchanged() -> None:
    """A container is read from the store with every field that a cause or a report depends on."""
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


def test_unknown_fields_are_not_stored() -> None:
    """There can be ten thousand containers, so absent values take no space."""
    assert msgspec.json.encode(Container("c")) == b'{"id":"c"}'
