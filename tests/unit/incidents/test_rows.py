"""The rows of incidents as the store gets them."""

import pytest
import structlog

from relay.incidents.rows import decode_rows, encode_changes
from relay.incidents.state import Changes
from tests.unit.incidents.events import crash_loop, die, event
from tests.unit.incidents.world import Setup, World


def test_rows_survive_the_store() -> None:
    """What is written and read again is what was in memory, for every kind of row."""
    everything = {"name": "all", "match": {"type": "container"}, "to": ["ops"]}
    world = World(Setup(everything)).play(
        [*crash_loop(deaths=3), event("pull", 2.0, "img"), die(3.0, "api", project="shop")], 4
    )
    rows = world.dispatcher.export()
    encoded = encode_changes(Changes(rows))
    stored = [(kind, key, content) for (kind, key), content in encoded.items() if content]
    assert decode_rows(stored) == rows
    assert {kind for kind, _, _ in stored} == {
        "incidents",
        "groups",
        "destinations",
        "route_counts",
    }


def test_a_removed_row_is_deleted() -> None:
    """A change says which rows to delete, by the same keys as those that were written."""
    world = World().play([die(0)], 4)
    written = encode_changes(Changes(world.dispatcher.export()))
    changes = Changes(
        type(world.dispatcher.export())(),
        removed_incidents=[("ops", world.dispatcher.list_incidents()[0].subject)],
    )
    ((key, content),) = encode_changes(changes).items()
    assert key in written
    assert content is None


def test_an_event_that_cannot_be_read() -> None:
    """Its row is left out, too: relay would need the event as soon as it starts."""
    world = World(Setup({"name": "all", "match": {"type": "container"}, "to": ["ops"]}))
    world.play([die(0), event("pull", 0, "img")], 1)
    encoded = encode_changes(Changes(world.dispatcher.export()))
    stored = [
        (kind, key, content.replace(b'"host":"node-1"', b'"host":17'))
        for (kind, key), content in encoded.items()
        if content
    ]
    with structlog.testing.capture_logs() as logs:
        rows = decode_rows(stored)
    assert rows.incidents == []
    assert [each.plains for each in rows.groups] == [()]
    assert [each["kind"] for each in logs] == ["incidents", "groups"]


@pytest.mark.parametrize(
    "row", [("incidents", "k", b"{"), ("incidents", "k", b"{}"), ("future", "k", b"{}")]
)
def test_a_row_that_cannot_be_read_is_left_out(row: tuple[str, str, bytes]) -> None:
    """relay starts without it, and says so."""
    with structlog.testing.capture_logs() as logs:
        assert decode_rows([row]).incidents == []
    (line,) = logs
    assert (line["event"], line["kind"], line["key"]) == (
        "incidents.row_unreadable",
        row[0],
        "k",
    )
