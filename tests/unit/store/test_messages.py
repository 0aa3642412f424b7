"""What becomes of messages about incidents: waiting, dead letters, given up, evicted."""

import msgspec
import pytest

from relay.config import WhenFull
from relay.core.event import TYPE_RELAY
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Retry
from relay.store.outbox import open_outbox
from relay.store.records import (
    LONG_BYTES,
    Ack,
    GiveUpResult,
    MessageFates,
    Selection,
)
from tests.unit.store.samples import (
    fetch_due,
    make_commit,
    make_large_update,
    make_notification,
    make_update,
)

MAX_BYTES = 512 * 1024


async def test_the_fates_of_messages() -> None:
    """Which wait, due or not, and which are dead letters; of the others nothing is said."""
    async with open_outbox(None) as outbox:
        updates = [make_update(number, f"g{number}") for number in range(6)]
        keys = [("ops", each.id) for each in updates]
        await outbox.commit(make_commit(*updates, make_notification(9)), 10)
        await outbox.commit(make_commit(make_update(7, "g1")), 10)  # waits for the one before it
        due = {each.notification.id: each for each in await fetch_due(outbox, 10)}
        outcomes: list[tuple[int, Outcome]] = [
            (0, Delivered()),
            (2, Dead(Reason.REFUSED)),
            (3, Dead(Reason.EXPIRED)),
            (4, Retry(9.0, Reason.UNAVAILABLE)),
        ]
        await outbox.ack([Ack(due[keys[at][1]], outcome) for at, outcome in outcomes], 20)
        behind = ("ops", make_update(7).id)
        unknown = [("audit", keys[1][1]), ("audit", keys[2][1]), ("ops", "ntf_x"), ("ops", "\0ü")]
        event = ("ops", make_notification(9).id)
        assert await outbox.message_fates([*keys, behind, *unknown, event]) == MessageFates(
            frozenset([keys[1], keys[4], keys[5], behind]),
            {keys[2]: Reason.REFUSED, keys[3]: Reason.EXPIRED},
        )
        assert await outbox.message_fates([]) == MessageFates(frozenset(), {})
        await outbox.replay_dead_letters(Selection(), lambda: ["ops"], 30)
        assert await outbox.message_fates(keys[2:4]) == MessageFates(frozenset(keys[2:4]), {})


async def test_a_reason_of_another_version_is_a_refusal() -> None:
    """So that what was given up is not sent again by itself."""
    async with open_outbox(None) as outbox:
        await outbox.commit(make_commit(make_update(1)), 10)
        (only,) = await fetch_due(outbox, 10)
        await outbox.ack([Ack(only, Dead(Reason.EXPIRED))], 20)
        await outbox._writer.run(
            lambda connection: connection.execute("UPDATE dead_letters SET reason = 'later'")
        )
        key = ("ops", only.notification.id)
        assert await outbox.message_fates([key]) == MessageFates(frozenset(), {key: Reason.REFUSED})


async def test_messages_that_are_given_up_are_reported() -> None:
    """Those that expire and those of a removed destination, and none of events."""
    async with open_outbox(None) as outbox:
        old, new = make_update(1, "a"), make_update(2, "b")
        await outbox.commit(make_commit(old, make_notification(3), to=("ops", "audit")), 10)
        await outbox.commit(make_commit(new), 20)
        assert await outbox.expire("ops", 15, 30) == GiveUpResult(2, messages=(("ops", old.id),))
        assert await outbox.expire("ops", 15, 30) == GiveUpResult()
        assert await outbox.drop_destination("ops", 30) == GiveUpResult(
            1, messages=(("ops", new.id),)
        )
        assert await outbox.drop_destination("audit", 30) == GiveUpResult(
            2, messages=(("audit", old.id),)
        )


@pytest.mark.parametrize("when_full", ["drop-oldest", "drop-new"])
@pytest.mark.parametrize("size", [1500, LONG_BYTES])
async def test_evicted_messages_are_reported(when_full: WhenFull, size: int) -> None:
    """Each that a full store evicts, of this batch or older, and no other."""
    evicted: list[tuple[str, str]] = []
    keys: list[tuple[str, str]] = []
    async with open_outbox(None, max_size=MAX_BYTES, when_full=when_full) as outbox:
        for number in range(0, 400, 4):
            update = make_update(number, f"g{number}")
            batch = [
                msgspec.structs.replace(each, route="r" * size)
                for each in (update, make_notification(number + 1, f"c{number}"))
            ]
            result = await outbox.commit(make_commit(*batch, to=("ops", "audit")), 10)
            evicted += result.evicted_messages
            keys += [(to, batch[0].id) for to in ("ops", "audit")]
            assert len(result.evicted_messages) <= result.evicted
        fates = await outbox.message_fates(keys)
    assert evicted
    assert fates.waiting
    assert len(evicted) == len(set(evicted))
    assert set(evicted) == set(keys) - fates.waiting


async def test_drop_new_never_evicts_messages_about_relay_itself() -> None:
    """They report that an engine or a destination does not answer."""
    async with open_outbox(None, max_size=MAX_BYTES, when_full="drop-new") as outbox:
        while not (await outbox.commit(make_commit(make_large_update(1)), 10)).evicted:
            pass
        (event,) = make_update(1).events
        own = msgspec.structs.replace(
            make_large_update(2), events=(msgspec.structs.replace(event, type=TYPE_RELAY),)
        )
        result = await outbox.commit(make_commit(own), 10)
        assert (result.evicted, result.evicted_messages) == (0, ())


async def test_dead_letters_about_incidents_are_selected() -> None:
    """And none of events, whatever their names are."""
    async with open_outbox(None) as outbox:
        update, odd = make_update(1), make_notification(2, '"update":{')
        await outbox.commit(make_commit(update, odd, make_notification(3)), 10)
        dead = [Ack(each, Dead(Reason.REFUSED)) for each in await fetch_due(outbox, 10)]
        await outbox.ack(dead, 20, flush=True)
        assert len(await outbox.dead_letters(Selection(), 9)) == 3
        (found,) = await outbox.dead_letters(Selection(about_incidents=True), 9)
        assert found.notification == update
