"""What operators do to incidents, as changes of rows: the same whether relay runs or not."""

from collections.abc import Collection, Iterable, Mapping

from relay.core.incident import IncidentReport, Resolution, Status, Update
from relay.incidents import incident as incidents
from relay.incidents.clock import Now
from relay.incidents.incident import Incident


def close_incidents(rows: Iterable[Incident], incident_id: str, now: Now) -> list[Incident]:
    """Return the open incidents with this id as they are when somebody closes them."""
    return [
        incidents.resolve(
            each, Resolution.CLOSED, max(now.at(each.life.engine), each.last_event_ns)
        )
        for each in rows
        if each.id == incident_id and each.is_open
    ]


def mark_replayed(
    rows: Iterable[Incident], messages: Mapping[tuple[str, str], str]
) -> list[Incident]:
    """Return the incidents whose last message was refused, as they are when it waits once more.

    ``messages`` are the ids of the messages, by destination and id of an incident.
    """
    return [
        incidents.mark_replayed(each, messages[each.destination, each.id])
        for each in rows
        if each.was_refused and (each.destination, each.id) in messages
    ]


class SupersededMessages:
    """Finds out which messages about incidents must not be sent again."""

    def __init__(self, rows: Collection[Incident]) -> None:
        """``rows`` are all incidents, open and remembered."""
        self._by_id = {(each.destination, each.id): each for each in rows}
        self._names = {(each.destination, each.name) for each in rows}

    def includes(self, destination: str, update: Update) -> bool:
        """Whether a later message reported one of the incidents, or one has changed since.

        Sent again, the message would report as new what is known. The end of an incident
        that is forgotten may be reported, unless the same subject has another one.
        """
        return any(self._has_moved_on(destination, reported) for reported in update.incidents)

    def _has_moved_on(self, destination: str, reported: IncidentReport) -> bool:
        incident = self._by_id.get((destination, reported.id))
        if incident is None:
            is_end = reported.status is Status.RESOLVED
            return not is_end or (destination, reported.subject) in self._names
        return incident.message_count > reported.sequence or incident.status is not reported.status
