"""Adds and ends silences, and notes when they end by themselves."""

from relay.config.known_names import KnownNames
from relay.incidents.clock import Now
from relay.incidents.review import HoldReview
from relay.incidents.silence import Silence
from relay.incidents.silence_request import SilenceRequest
from relay.incidents.tracker import IncidentTracker, Task


class SilenceChanges:
    """Changes the silences of a running relay."""

    def __init__(self, tracker: IncidentTracker, review: HoldReview) -> None:
        self._tracker = tracker
        self._review = review
        self._silences = tracker.state.silences
        self._in_force: set[int] = set()
        """The ids of those that were in force at the last call of `follow`."""

    def add(self, request: SilenceRequest, now: Now) -> Silence:
        """Add a silence. Raises `InvalidSilence`."""
        policies = self._tracker.policies
        routes = {route for route, _ in policies.routes}
        known = KnownNames(engines=policies.known_engines, routes=routes)
        silence = self._silences.add(request, known, now.wall_ns)
        if self._tracker.journal is not None:
            self._tracker.journal.silence_added(silence)
        self._apply(now)
        return silence

    def expire(self, id_: int, after_ns: int, now: Now) -> Silence:
        """End a silence now, or after a time. Raises `InvalidSilence`, `UnknownSilence`."""
        silence = self._silences.expire(id_, now.wall_ns, after_ns)
        if self._tracker.journal is not None:
            self._tracker.journal.silence_expired(silence)
        if silence.expired_ns is not None:
            self._in_force.discard(id_)
        self._apply(now)
        return silence

    def _apply(self, now: Now) -> None:
        self.follow(now)
        self._review.review_all(now)

    def follow(self, now: Now) -> None:
        """Note which silences have ended by themselves, and when the next one does."""
        wall_ns = now.wall_ns
        self._silences.prune(wall_ns)
        before, self._in_force = self._in_force, self._silences.list_in_force(wall_ns)
        for silence in map(self._silences.get, sorted(before - self._in_force)):
            if silence is not None and self._tracker.journal is not None:
                self._tracker.journal.silence_ended(silence)
        change_ns = self._silences.next_change_ns(wall_ns)
        due_ns = None if change_ns is None else now.wall_to_steady_ns(change_ns)
        self._tracker.schedule.set((Task.SILENCE, "", ""), due_ns)
