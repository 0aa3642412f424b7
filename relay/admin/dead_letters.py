"""Replays dead letters: they become deliveries again, unless what they say is out of date."""

from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from relay.admin.incidents import IncidentAccess
from relay.admin.requests import PAGE_SIZE, ReplayResult
from relay.incidents.actions import SupersededMessages
from relay.store.outbox import Outbox
from relay.store.records import DestinationNames, Selection


async def replay_dead_letters(
    outbox: Outbox,
    incidents: IncidentAccess,
    selection: Selection,
    destinations: DestinationNames,
    now_ns: Callable[[], int],
) -> ReplayResult:
    """See `relay.admin.operations.AdminOperations.replay_dead_letters`."""
    messages = await _sort_messages(outbox, incidents, selection, destinations)
    # Before the commit: a message may be delivered right after it.
    await incidents.note_replayed(messages.replayed)
    superseded = messages.superseded
    count = await outbox.replay_dead_letters(selection, destinations, now_ns(), superseded)
    configured = destinations()
    remaining = await outbox.count_dead_letters(selection)
    # Only removed destinations: a replayed delivery may have become a dead letter again.
    left = {name: remaining[name] for name in remaining if name not in configured}
    return ReplayResult(count, left, len(superseded))


class _Messages(NamedTuple):
    """The dead letters about incidents whose destination is configured."""

    superseded: set[int]
    """The numbers of those that must not be sent again."""
    replayed: dict[tuple[str, str], str]
    """The ids of the other messages, by destination and id of an incident."""


async def _sort_messages(
    outbox: Outbox,
    incidents: IncidentAccess,
    selection: Selection,
    destinations: DestinationNames,
) -> _Messages:
    rows, _ = await incidents.read()
    out_of_date, configured = SupersededMessages(rows.incidents), destinations()
    found, below = _Messages(set(), {}), None
    about_incidents = replace(selection, about_incidents=True)
    while page := await outbox.dead_letters(about_incidents, PAGE_SIZE, below):
        below = page[-1].number
        for dead_letter in page:
            to, notification = dead_letter.destination, dead_letter.notification
            update = notification.update
            if to not in configured or update is None:
                continue
            if out_of_date.includes(to, update):
                found.superseded.add(dead_letter.number)
            else:
                ids = (report.id for report in update.incidents)
                found.replayed.update(((to, id_), notification.id) for id_ in ids)
    return found
