"""Dead letters in a store, and what is left of them."""

import json
from pathlib import Path
from typing import Any

from relay.core.exchange import Answer, Dead, Reason
from relay.core.notification import Notification
from relay.store.records import DeadLetter, Outbox, Selection, Waiting
from tests.unit.cli.cli_store import SECOND_NS, THEN_NS, keep, run, settle
from tests.unit.store.samples import told

REFUSED = Answer(400, "no such\x1b[2J channel\nID  1", None)


UNREACHED = Answer(None, "", "Connection refused")


async def bury(
    outbox: Outbox,
    notification: Notification,
    reason: Reason = Reason.REFUSED,
    answer: Answer | None = REFUSED,
    **how: Any,
) -> None:
    await settle(outbox, notification, Dead(reason), answer=answer, **how)


async def three(outbox: Outbox) -> None:
    """One refused, one that came to be too old, one for a destination that there is no more."""
    await bury(outbox, told(1))
    await bury(outbox, told(2, about="db"), Reason.EXPIRED, UNREACHED, to="audit")
    await bury(outbox, told(1), answer=None, to="gone", died_ns=THEN_NS + 7200 * SECOND_NS)


def letters(store: Path) -> list[DeadLetter]:
    async def ask(outbox: Outbox) -> list[DeadLetter]:
        return await outbox.dead_letters(Selection(), 1000)

    return keep(store, ask)


def numbers(store: Path) -> list[int]:
    return [letter.number for letter in letters(store)]


def waiting(store: Path) -> list[Waiting]:
    async def ask(outbox: Outbox) -> list[Waiting]:
        return await outbox.waiting(None, 1000)

    return keep(store, ask)


def listed(*arguments: str) -> list[int]:
    """The numbers of the letters that are shown."""
    result = run("dead", "list", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line)["number"] for line in result.stdout.splitlines()]
