"""The state of one container."""

import msgspec
import pytest
from msgspec.structs import replace

from relay.core.container import CHANGING_FIELDS, Container
from tests.unit.store.samples import CONTAINER


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
    fields = Container.__struct_fields__
    assert all(getattr(CONTAINER, name) != getattr(Container("x"), name) for name in fields)
    assert msgspec.json.decode(msgspec.json.encode(CONTAINER), type=Container) == CONTAINER


def test_the_fields_that_the_store_has_columns_for() -> None:
    """The others are reported apart by `is_described_as`."""
    fields = set(Container.__struct_fields__)
    others = {"id", "name", "image", "labels", "exit_code_hidden", "signal_hidden"}
    others |= {"run_time_hidden", "max_retries", "memory_limit"}
    others |= {"health", "stop_signal", "interactive", "auto_remove"}
    others |= {"restart_policy", "ended_unasked", "start_failed"}
    assert fields == {*CHANGING_FIELDS} | others
    one = Container("c", labels={"a": "b"})
    assert one.is_described_as(replace(one, **dict.fromkeys(CHANGING_FIELDS, 1)))
    assert one.is_described_as(replace(one, labels={"a": "b"}))
    for name in others - {"id"}:
        assert not one.is_described_as(replace(one, **{name: {"x": "y"}}))


def test_unknown_fields_are_not_stored() -> None:
    """There can be ten thousand containers, so absent values take no space."""
    assert msgspec.json.encode(Container("c")) == b'{"id":"c"}'
