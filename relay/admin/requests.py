"""The types of the requests to the operations, and of those answers that are made for them."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated

import msgspec
from msgspec import Meta

from relay.core.zone import UTC_NAME
from relay.incidents.incident import Incident
from relay.store.records import Selection

PAGE_SIZE = 500
"""At most this many deliveries, dead letters or incidents in one answer of the API."""

_Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""The integers that SQLite can compare with its own."""
_PageLimit = Annotated[int, Meta(ge=1, le=PAGE_SIZE)]


class SelectionRequest(Selection, frozen=True, forbid_unknown_fields=True):
    """A `Selection` that comes from outside and is therefore validated when it is decoded."""

    ids: tuple[_Number | str, ...] | None = None
    since_ns: _Number | None = None


class DeadLettersRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `AdminOperations.list_dead_letters`. An empty page means that there are no more."""

    selection: SelectionRequest
    limit: _PageLimit = msgspec.field(name="most")
    below: _Number | None = None


class WaitingRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `AdminOperations.list_waiting`."""

    destination: str | None
    limit: _PageLimit = msgspec.field(name="most")


class EnableRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `AdminOperations.enable`."""

    destination: str


class IncidentsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `relay.incidents.view.list_page`."""

    all: bool = False
    """Whether to list those that are over and remembered, too."""
    limit: _PageLimit = msgspec.field(name="most", default=PAGE_SIZE)
    after: str | None = None
    """Go on after the page whose ``next`` this is; None for the first page."""
    subject: str | None = None
    """The key of the subject that they are about; None for any."""
    host: Annotated[str, Meta(max_length=255)] | None = None
    """A glob for the host that they are about; None for any."""

    def accepts(self, incident: Incident) -> bool:
        """Whether an incident is about this subject and this host."""
        return self.subject in (None, incident.subject) and (
            self.host is None or fnmatchcase(incident.last.decode().host, self.host)
        )


class IncidentRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names an incident. To close it takes the whole id; to see it, its beginning is enough."""

    id: Annotated[str, Meta(min_length=1, max_length=64)]


class DaemonInfo(msgspec.Struct, frozen=True):
    """The version of the relay that answers, its clock and its time zone."""

    version: str
    now_ns: int
    """The time by which it schedules deliveries."""
    time_zone: str = UTC_NAME
    """``time_zone`` of its configuration. What it answers itself is in UTC."""


class ReplayResult(msgspec.Struct, frozen=True):
    """The outcome of a replay of dead letters."""

    count: int
    """How many dead letters are deliveries again."""
    left: Mapping[str, int] = {}
    """How many stay dead letters, by destination: those that are not configured."""
    superseded: int = 0
    """How many stay dead letters because what they say of incidents is out of date."""
