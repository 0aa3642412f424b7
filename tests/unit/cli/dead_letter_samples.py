"""Samples: dead letters in a store, and what a store holds."""

import json
from pathlib import Path
from typing import Any

from relay.core.exchange import Answer, Dead, Reason
from relay.core.notification import Notification
from relay.store.outbox import Outbox
from relay.store.records import DeadLetter, Selection, WaitingDelivery
from tests.unit.cli.cli_store import SECOND_NS, THEN_NS, in_store, run, settle
from tests.unit.store.samples import make_notification

REFUSED = Answer(400, "no such\x1b[2J channel\nID  1", None)


UNREACHABLE = Answer(None, "", "Connection refused")


async def add_dead_letter(
    outbox: Outbox,
    notification: Notification,
    reason: Reason = Reason.REFUSED,
    answer: Answer | None = REFUSED,
    **how: Any,
) -> None:
    await settle(outbox, notification, Dead(reason), answer=answer, **how)


async def add_three(outbox: Outbox) -> None:
    """One refused, one expired, one for a destination that is no longer configured."""
    await add_dead_letter(outbox, make_notification(1))
    await add_dead_letter(
        outbox, make_notification(2, container="db"), Reason.EXPIRED, UNREACHABLE, to="audit"
    )
    await add_dead_letter(
        outbox, make_notification(1), answer=None, to="gone", died_ns=THEN_NS + 7200 * SECOND_NS
    )


def dead_letters(store: Path) -> list[DeadLetter]:
    async def ask(outbox: Outbox) -> list[DeadLetter]:
        return await outbox.dead_letters(Selection(), 1000)

    return in_store(store, ask)


def numbers(store: Path) -> list[int]:
    return [dead_letter.number for dead_letter in dead_letters(store)]


def waiting(store: Path) -> list[WaitingDelivery]:
    async def ask(outbox: Outbox) -> list[WaitingDelivery]:
        return await outbox.waiting(None, 1000)

    return in_store(store, ask)


def list_numbers(*arguments: str) -> list[int]:
    """The numbers of the dead letters that ``relay dead list`` shows."""
    result = run("dead", "list", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line)["number"] for line in result.stdout.splitlines()]
