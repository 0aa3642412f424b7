"""What is done about clocks that were set: the times that are kept follow them."""

from collections.abc import Mapping

from msgspec.structs import replace

from relay.incidents import destination as destinations
from relay.incidents import group as groups
from relay.incidents import incident as incidents
from relay.incidents.clock import Now, host_of
from relay.incidents.tracker import IncidentTracker


def limit_times(tracker: IncidentTracker, now: Now) -> None:
    """Limit what is due later than possible: the clock was set back while relay was down."""
    state = tracker.state
    for group in list(state.groups.values()):
        policy = tracker.destination_policy(group.destination)
        corrected = groups.correct_times(group, policy, now.steady_ns)
        if corrected is not group:
            state.put_group(corrected)
    for destination in list(state.destinations.values()):
        corrected_state = destinations.correct_times(destination, now.steady_ns)
        if corrected_state != destination:
            state.put_destination(corrected_state)


def shift_times(tracker: IncidentTracker, set_clocks: Mapping[str, int], now: Now) -> None:
    """Move the times of incidents and finishes by as much as the clock of their engine was set.

    ``set_clocks`` has the engines whose clocks were set, with the nanoseconds by which each was set
    forward.
    """
    if not set_clocks:
        return
    for incident in list(tracker.state.list_incidents()):
        if by_ns := set_clocks.get(incident.life.engine):
            tracker.put(incidents.shift(incident, by_ns), now)
    for finishes in list(tracker.state.finishes.values()):
        if by_ns := set_clocks.get(finishes.engine):
            times_ns = tuple(time_ns + by_ns for time_ns in finishes.times_ns)
            tracker.state.put_finishes(replace(finishes, times_ns=times_ns))


def shift_times_of_host(tracker: IncidentTracker, host: str, by_ns: int, now: Now) -> None:
    """Move the times of all engines of another host, by `clock.host_of`."""
    engines = {each.life.engine for each in tracker.state.list_incidents()}
    engines |= {each.engine for each in tracker.state.finishes.values()}
    set_clocks = {engine: by_ns for engine in engines if host_of(engine) == host}
    shift_times(tracker, set_clocks, now)
