"""What is known of an engine's containers: what a reconciliation has to ask the engine about."""

from collections.abc import Collection, Iterable, Mapping

from relay.incidents.incidents import Incidents
from relay.ingest.docker.containers.tracker import ContainerTracker
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.gaps import GapDetector


class KnownContainers:
    """The containers of one engine as the accepted events and the incidents describe them."""

    def __init__(
        self,
        engine: str,
        tracker: ContainerTracker,
        gap_detector: GapDetector,
        incidents: Incidents,
    ) -> None:
        self._engine = engine
        self._tracker = tracker
        self._gap_detector = gap_detector
        self._incidents = incidents

    @property
    def may_have_missed_deaths(self) -> bool:
        """Whether any container may have died without an event, not only those known to run."""
        return self._gap_detector.may_have_missed_deaths

    def select_for_inspection(self, listed: Mapping[str, str], *, thorough: bool) -> list[str]:
        """Return the ids to inspect of the listed containers (id to state); if thorough, all."""
        in_incidents = self._incidents.list_containers(self._engine)
        return [
            id_
            for id_, state in listed.items()
            if thorough
            or state == "running"
            or id_ in in_incidents
            or self._tracker.needs_inspection(id_)
        ]

    def find_missing(self, listed: Collection[str]) -> frozenset[str]:
        """Return the ids of the known containers that the engine does not list."""
        in_incidents = self._incidents.list_containers(self._engine)
        return self._tracker.find_missing(listed) | in_incidents.difference(listed)

    def has_unreported(self, snapshots: Iterable[ContainerSnapshot]) -> bool:
        """Whether one of these containers died and its death was not reported yet."""
        return self._tracker.has_unreported(snapshots)

    def reconciled(self) -> None:
        """Note that the engine's history was read, and reconciled as far as it can be."""
        self._incidents.caught_up(self._engine)
