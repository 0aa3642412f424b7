"""What operators see of silences."""

from msgspec.structs import replace

from relay.incidents.silence import Silence
from relay.incidents.silence_view import SilenceState, SilenceView, list_silences
from relay.incidents.state import Rows
from tests.unit.incidents.events import die, ns, start
from tests.unit.incidents.world import World

HOUR_NS = 3600 * 10**9
NOW = ns(5)
SHOP = {"project": "shop"}


def silence(id_: int, match: dict[str, object] | None = None, **fields: object) -> Silence:
    made = Silence(id_, NOW - 1, NOW + HOUR_NS, "deploy", "ann", NOW - 1, match or SHOP)
    return replace(made, **fields)


def view(rows: Rows, *silences: Silence, include_over: bool = False) -> list[SilenceView]:
    together = Rows(incidents=rows.incidents, silences=list(silences))
    return list_silences(together, NOW, include_over=include_over)


def test_order_and_state() -> None:
    """Those in force come first, the next to end before others."""
    found = view(
        Rows(),
        silence(1, until_ns=NOW),
        silence(2, until_ns=NOW - 1),
        silence(3, expired_ns=NOW - 10),
        silence(4, from_ns=NOW + 20),
        silence(5, from_ns=NOW + 10),
        silence(6, until_ns=NOW + 20),
        silence(7, until_ns=NOW + 10),
        include_over=True,
    )
    assert [(each.id, each.state) for each in found] == [
        *((7, SilenceState.ACTIVE), (6, SilenceState.ACTIVE)),
        *((5, SilenceState.PENDING), (4, SilenceState.PENDING)),
        *((1, SilenceState.OVER), (2, SilenceState.OVER), (3, SilenceState.OVER)),
    ]


def test_what_is_over_is_left_out_unless_it_is_asked_for() -> None:
    assert view(Rows(), silence(1, until_ns=NOW)) == []


def test_what_is_held_back_now() -> None:
    """It is counted at the silence that ends last; every one that matches says so."""
    world = World().play([die(0, "web", project="shop"), die(1, "web", project="shop")], 2)
    world.play([die(2, "other")], 2)
    found = view(
        world.dispatcher.export(),
        silence(1, until_ns=NOW + 5),
        silence(2),
        silence(3, from_ns=NOW + 1),
        silence(4, {"name": "db"}),
    )
    counts = {
        each.id: (each.matching, each.holding_incidents, each.holding_events) for each in found
    }
    assert counts == {1: (1, 0, 0), 2: (1, 1, 2), 3: (1, 0, 0), 4: (0, 0, 0)}


def test_what_was_reported_is_not_held_back() -> None:
    """Neither as long as it is open, nor its end."""
    world = World().play([die(0, "web", project="shop")], 3.5)
    (found,) = view(world.dispatcher.export(), silence(1))
    assert (found.matching, found.holding_incidents) == (1, 0)
    world.play([start(4, "web", project="shop")], 64)
    (found,) = view(world.dispatcher.export(), silence(1))
    assert (found.matching, found.holding_incidents) == (0, 0)
