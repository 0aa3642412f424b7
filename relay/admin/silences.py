"""Silences for commands: those of the running relay, else those in its store."""

from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from relay.admin.incidents import IncidentAccess
from relay.admin.operation import Operation, OperationCaller, Refused, TooMany
from relay.config.errors import quote
from relay.config.known_names import KnownNames
from relay.incidents.incidents import Incidents
from relay.incidents.silence import Silence, Silences, TooManySilences, UnknownSilence
from relay.incidents.silence_request import InvalidSilence, SilenceRequest
from relay.incidents.silence_view import SilenceView, list_silences, make_views
from relay.incidents.state import Changes, Rows

T = TypeVar("T")

MAX_AFTER_S = 3600
"""`ExpireRequest.after_s` is at most this: a longer time is for a silence of its own."""


class SilencesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `SilenceOperations.list_silences`."""

    all: bool = False
    """Whether to list those that are over, too."""


class ExpireRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See `SilenceOperations.expire_silence`."""

    id: Annotated[int, Meta(ge=1, le=2**53)]
    after_s: Annotated[int, Meta(ge=0, le=MAX_AFTER_S)] = 0


class SilenceAccess(msgspec.Struct, frozen=True):
    """Reads and changes silences, whether relay runs or not."""

    incidents: IncidentAccess
    known: KnownNames
    """The names that a match may use; needed only if no relay runs."""

    async def list(self, request: SilencesRequest) -> list[SilenceView]:
        """See `SilenceOperations.list_silences`."""
        rows, now = await self.incidents.read()
        return list_silences(rows, now.wall_ns, include_over=request.all)

    async def add(self, request: SilenceRequest) -> SilenceView:
        """See `SilenceOperations.add_silence`."""
        if request.incident is not None:
            rows, _ = await self.incidents.read()
            if all(each.id != request.incident for each in rows.incidents):
                raise Refused(
                    f"there is no incident {quote(request.incident)}: relay incidents --all shows "
                    "those there are, with their ids"
                )
        return await self._change(
            lambda live: live.add_silence(request),
            lambda silences, wall_ns: silences.add(request, self.known, wall_ns),
        )

    async def expire(self, request: ExpireRequest) -> SilenceView:
        """See `SilenceOperations.expire_silence`."""
        after_ns = request.after_s * 10**9
        return await self._change(
            lambda live: live.expire_silence(request.id, after_ns),
            lambda silences, wall_ns: silences.expire(request.id, wall_ns, after_ns),
        )

    async def _change(
        self,
        change_live: Callable[[Incidents], Silence],
        change_stored: Callable[[Silences, int], Silence],
    ) -> SilenceView:
        """Change the silences of the running relay, or else those in the store."""
        try:
            if (live := self.incidents.live) is not None:
                changed = change_live(live)
                await self.incidents.save_changes(live)
            else:
                rows, now = await self.incidents.read()
                silences = Silences(rows.silences)
                changed = change_stored(silences, now.wall_ns)
                written, removed = silences.take_changes()
                await self.incidents.save(Changes(Rows(silences=written), removed_silences=removed))
        except TooManySilences as error:
            raise TooMany(str(error)) from error
        except (InvalidSilence, UnknownSilence) as error:
            raise Refused(str(error)) from error
        rows, now = await self.incidents.read()
        (view,) = make_views([changed], rows, now.wall_ns)
        return view


class SilenceOperations(OperationCaller):
    """What commands can ask about silences. Every method can raise `OperationError`."""

    async def list_silences(self, *, include_over: bool = False) -> list[SilenceView]:
        """Return silences: see `relay.incidents.silence_view.list_silences`."""
        return await self.call(LIST_SILENCES, SilencesRequest(include_over))

    async def add_silence(self, request: SilenceRequest) -> SilenceView:
        """Add a silence. It is stored when this returns.

        Raises `Refused` if something is wrong with the request, `TooMany` if there are too many.
        """
        return await self.call(ADD_SILENCE, request)

    async def expire_silence(self, id_: int, after_s: int = 0) -> SilenceView:
        """End a silence now, or after some seconds if it does not end earlier.

        Raises `Refused` if there is none of this number, or if it is over.
        """
        return await self.call(EXPIRE_SILENCE, ExpireRequest(id_, after_s))


LIST_SILENCES = Operation(
    "list silences",
    "GET",
    "/api/silences",
    SilencesRequest,
    list[SilenceView],
    lambda local, request: local.silences.list(request),
)
ADD_SILENCE = Operation(
    "add silence",
    "POST",
    "/api/silences",
    SilenceRequest,
    SilenceView,
    lambda local, request: local.silences.add(request),
    uses_store=True,
)
EXPIRE_SILENCE = Operation(
    "expire silence",
    "DELETE",
    "/api/silences/{id}",
    ExpireRequest,
    SilenceView,
    lambda local, request: local.silences.expire(request),
    uses_store=True,
)
SILENCE_OPERATIONS = (LIST_SILENCES, ADD_SILENCE, EXPIRE_SILENCE)
