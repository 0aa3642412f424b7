"""The loop of the incidents: sleeps until something is to be reported, and commits what that is.

It stands beside the ingest loops and the delivery loops, and shares the store with them. Whatever
changes an incident outside a batch of events, such as an answer of a destination, is stored here.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from relay.config import Config
from relay.core.event import RELAY_ENGINE
from relay.core.exchange import Reason
from relay.core.tasks import LoopMonitor
from relay.incidents.incidents import EngineClocks, Incidents
from relay.incidents.journal import Journal
from relay.incidents.policy import build_policies
from relay.incidents.rows import decode_rows
from relay.incidents.state import Rows
from relay.routing.router import Router
from relay.store.outbox import Outbox
from relay.store.records import CommitResult, IngestCommit

log = structlog.get_logger()


def is_refusal(reason: Reason) -> bool:
    """Whether what a message says must not be reported again before there is something new.

    If the message only became too old, it is reported again at once.
    """
    return reason is not Reason.EXPIRED


async def load_incidents(config: Config, outbox: Outbox, clocks: EngineClocks) -> Incidents:
    """Continue with the incidents that are in the store.

    A message that is not in the store was delivered. If the store was damaged, the message may be
    lost instead: then it counts as waiting until `settle_lost` is called.
    """
    rows = decode_rows(await outbox.incident_rows())
    fates = await outbox.message_fates(_list_outstanding(rows))
    outstanding = None if await outbox.losses() else {*fates.waiting, *fates.dead}
    incidents = Incidents(
        rows, build_policies(config), Router(config.routes), clocks, outstanding, Journal()
    )
    for (destination, message_id), reason in fates.dead.items():
        incidents.dead_lettered(destination, message_id, refused=is_refusal(reason))
    if incidents.unwatched_at_start:
        log.info("incidents.unwatched", count=incidents.unwatched_at_start)
    return incidents


async def settle_lost(incidents: Incidents, outbox: Outbox) -> None:
    """Let what a damaged store has lost be reported again: messages that it does not have."""
    outstanding = set(incidents.list_outstanding())
    fates = await outbox.message_fates(outstanding)
    for destination, message_id in outstanding - fates.waiting - fates.dead.keys():
        incidents.dead_lettered(destination, message_id, refused=False)


def _list_outstanding(rows: Rows) -> set[tuple[str, str]]:
    """Return the messages that count as waiting, by destination and id."""
    incidents = ((each.destination, each.waiting) for each in rows.incidents)
    groups = ((each.destination, each.waiting) for each in rows.groups)
    reminders = ((each.name, each.reminder) for each in rows.destinations)
    return {(to, id_) for to, id_ in (*incidents, *groups, *reminders) if id_ is not None}


class IncidentLoop:
    """Reports what is due, and stores what changes."""

    def __init__(
        self,
        incidents: Incidents,
        outbox: Outbox,
        now: Callable[[], int],
        on_commit: Callable[[IngestCommit, CommitResult], None],
        refresh: Callable[[Sequence[str]], None],
    ) -> None:
        """``now`` is the clock by which deliveries are due.

        ``on_commit`` is called with every commit and its result; ``refresh`` with the destinations
        whose open incidents are to be repeated.
        """
        self._incidents = incidents
        self._outbox = outbox
        self._now = now
        self._on_commit = on_commit
        self._refresh = refresh
        self._changed = asyncio.Event()
        self.loop_monitor = LoopMonitor()

    async def run(self) -> None:
        """Report and store until cancelled."""
        self._incidents.on_change(self._changed.set)
        while True:
            self._changed.clear()
            due_in_s = self._incidents.due_in_s
            if due_in_s is not None and due_in_s <= 0:
                await self._report()
                continue
            await self.save()
            with suppress(TimeoutError), self.loop_monitor.idle():
                async with asyncio.timeout(due_in_s):
                    await self._changed.wait()

    async def save(self) -> None:
        """Store the changes that no commit has taken."""
        if rows := self._incidents.take_changes():
            await self._outbox.save_incident_rows(rows)

    async def _report(self) -> None:
        """Commit what is due now; others get their turn in between."""
        due = self._incidents.due()
        if due.notifications:
            rows = self._incidents.take_changes()
            commit = IngestCommit(RELAY_ENGINE, None, due.notifications, incident_rows=rows)
            result = await self._outbox.commit(commit, self._now())
            self._on_commit(commit, result)
        else:
            await self.save()
        if due.refreshes:
            self._refresh(due.refreshes)
        if not due.is_complete:
            await asyncio.sleep(0)
