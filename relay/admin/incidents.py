"""Incidents for commands: those of the running relay, else those in its store."""

from collections.abc import Callable, Mapping

import msgspec

from relay.admin.operation import Operation, OperationCaller
from relay.admin.requests import PAGE_SIZE, IncidentRequest, IncidentsRequest
from relay.incidents.actions import close_incidents, mark_replayed
from relay.incidents.clock import Now
from relay.incidents.incidents import Incidents
from relay.incidents.rows import decode_rows, encode_changes
from relay.incidents.state import Changes, Rows
from relay.incidents.view import (
    IncidentDetails,
    IncidentPage,
    SilentUntil,
    find_details,
    list_page,
    never_silent,
)
from relay.store.outbox import Outbox


class IncidentAccess(msgspec.Struct, frozen=True):
    """Reads and changes incidents, whether relay runs or not."""

    outbox: Outbox
    now_ns: Callable[[], int]
    """The clock by which deliveries are due."""
    live: Incidents | None
    """None if no relay runs: then the rows in the store are all there is."""

    async def read(self) -> tuple[Rows, Now]:
        """Return all rows, and the present moment by all clocks."""
        if self.live is not None:
            return self.live.export(), self.live.now()
        return decode_rows(await self.outbox.incident_rows()), Now(self.now_ns())

    @property
    def _silent_until_ns(self) -> SilentUntil:
        return never_silent if self.live is None else self.live.silent_until_ns

    async def list_page(self, request: IncidentsRequest) -> IncidentPage:
        """See `relay.incidents.view.list_page`."""
        rows, now = await self.read()
        return list_page(
            rows,
            now,
            request.limit,
            include_ended=request.all,
            after=request.after,
            about=request.accepts,
            silent_until_ns=self._silent_until_ns,
        )

    async def find(self, beginning: str) -> list[IncidentDetails]:
        """Return the incidents, at each destination, whose ids begin like this."""
        rows, now = await self.read()
        return find_details(rows, now, beginning, self._silent_until_ns)

    async def close(self, incident_id: str) -> bool:
        """Resolve the incident with this id at every destination; return whether one was open.

        That is stored when this returns. If no relay runs, its end is reported after the next
        start.
        """
        if self.live is not None:
            was_open = self.live.close(incident_id)
            await self.save_changes(self.live)
            return was_open
        rows, now = await self.read()
        closed = close_incidents(rows.incidents, incident_id, now)
        if closed:
            await self.save(Changes(Rows(incidents=closed)))
        return bool(closed)

    async def note_replayed(self, messages: Mapping[tuple[str, str], str]) -> None:
        """See `relay.incidents.dispatcher.Dispatcher.replayed`."""
        if self.live is not None:
            self.live.replayed(messages)
            await self.save_changes(self.live)
        elif messages:
            rows, _ = await self.read()
            if marked := mark_replayed(rows.incidents, messages):
                await self.save(Changes(Rows(incidents=marked)))

    async def save_changes(self, live: Incidents) -> None:
        """Store the changes of the running relay that no commit has taken."""
        await self.outbox.save_incident_rows(live.take_changes())

    async def save(self, changes: Changes) -> None:
        """Store changes, if no relay runs."""
        await self.outbox.save_incident_rows(encode_changes(changes))


class IncidentOperations(OperationCaller):
    """What commands can ask about incidents. Every method can raise `OperationError`."""

    async def list_incidents(
        self,
        limit: int,
        *,
        include_ended: bool = False,
        subject: str | None = None,
        host: str | None = None,
    ) -> IncidentPage:
        """Return the first incidents of a list: see `relay.incidents.view.list_page`."""
        first = IncidentsRequest(include_ended, min(limit, PAGE_SIZE), None, subject, host)
        page = await self.call(LIST_INCIDENTS, first)
        while page.next is not None and (missing := limit - len(page.incidents)) > 0:
            size = min(missing, PAGE_SIZE)
            request = msgspec.structs.replace(first, limit=size, after=page.next)
            following = await self.call(LIST_INCIDENTS, request)
            found = [*page.incidents, *following.incidents]
            page = msgspec.structs.replace(page, incidents=found, next=following.next)
        return page

    async def find_incidents(self, beginning: str) -> list[IncidentDetails]:
        """Return the incidents, at each destination, whose ids begin like this."""
        return await self.call(FIND_INCIDENTS, IncidentRequest(beginning))

    async def close_incident(self, incident_id: str) -> bool:
        """Resolve an incident at every destination; return whether it was open at one."""
        return await self.call(CLOSE_INCIDENT, IncidentRequest(incident_id))


LIST_INCIDENTS = Operation(
    "list incidents",
    "GET",
    "/api/incidents",
    IncidentsRequest,
    IncidentPage,
    lambda local, request: local.incidents.list_page(request),
)
FIND_INCIDENTS = Operation(
    "find incidents",
    "GET",
    "/api/incidents/{id}",
    IncidentRequest,
    list[IncidentDetails],
    lambda local, request: local.incidents.find(request.id),
)
CLOSE_INCIDENT = Operation(
    "close incident",
    "POST",
    "/api/incidents/close",
    IncidentRequest,
    bool,
    lambda local, request: local.incidents.close(request.id),
    uses_store=True,
)

INCIDENT_OPERATIONS = (LIST_INCIDENTS, FIND_INCIDENTS, CLOSE_INCIDENT)
