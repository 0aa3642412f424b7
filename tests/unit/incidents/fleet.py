"""Events of other hosts, as a hub gets them."""

from collections.abc import Iterator

from msgspec.structs import replace

from relay.core.event import RELAY_ENGINE, Event
from tests.unit.incidents.events import own

VIA = "fleet"


def of(host: str, event: Event, engine: str = "local") -> Event:
    """An event that the relay of a host has sent: its engines are all called the same."""
    return replace(event, via=VIA, host=host, engine=engine)


def of_relay(host: str, action: str, t: float, /, **attributes: str) -> Event:
    """One of the own events of another host's relay, about a destination or itself."""
    return of(host, own(action, t, engine=RELAY_ENGINE, **attributes), RELAY_ENGINE)


def of_engine(host: str, action: str, t: float, engine: str = "local") -> Event:
    """One of the own events of another host's relay about an engine of it."""
    return of(host, own(action, t, engine=engine), engine)


def silent(host: str, t: float) -> Event:
    """The hub has noticed that a host sends no heartbeats any more."""
    return of_relay(host, "engine_lost", t, host=host, reason="no heartbeat for 5m")


def heard(host: str, t: float) -> Event:
    """The host sends heartbeats again."""
    return of_relay(host, "engine_back", t, host=host, down_s="600")


def hosts(count: int) -> Iterator[str]:
    """The names of hosts."""
    return (f"web-{number}" for number in range(count))
