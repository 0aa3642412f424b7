"""What is done about clocks that were set: the times that are kept follow them."""

from msgspec.structs import replace

from relay.incidents import destination as destinations
from relay.incidents import group as groups
from relay.incidents import incident as incidents
from relay.incidents.clock import Now
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


def shift_times(tracker: IncidentTracker, engine: str, by_ns: int, now: Now) -> None:
    """Move the times of an engine's incidents: its clock was set forward by ``by_ns``."""
    for incident in list(tracker.state.list_incidents()):
        if incident.life.engine == engine:
            tracker.put(incidents.shift(incident, by_ns), now)
    for finishes in list(tracker.state.finishes.values()):
        if finishes.engine == engine:
            times_ns = tuple(time_ns + by_ns for time_ns in finishes.times_ns)
            tracker.state.put_finishes(replace(finishes, times_ns=times_ns))
