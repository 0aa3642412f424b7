"""The crash matrix detects what it should detect about silences."""

from pathlib import Path
from time import time_ns

from msgspec.structs import replace

from relay.incidents.rows import encode_changes
from relay.incidents.silence import Silence
from relay.incidents.state import Changes, Rows
from relay.store.outbox import open_outbox
from tests.crash.plan import SILENCED
from tests.crash.silences import find_silence_faults, silence_before_start


async def save(store: Path, incidents: int, events: int) -> None:
    """Store the first silence as it is when it has held back so much."""
    now_ns = time_ns()
    silence = Silence(1, now_ns, now_ns + 10**12, "crash", "tests", now_ns, {"name": SILENCED})
    silence = replace(silence, held_incidents=incidents, held_events=events)
    changes = encode_changes(Changes(Rows(silences=[silence])))
    async with open_outbox(store) as outbox:
        await outbox.save_incident_rows(changes)


async def test_a_silence_that_is_lost_or_counts_wrongly(tmp_path: Path) -> None:
    """Each is a fault; one that has counted its crash once is none."""
    store = tmp_path / "relay.db"
    async with open_outbox(store):
        pass
    assert await find_silence_faults(store, []) == ["the first silence is None"]
    await silence_before_start(store)
    faults = await find_silence_faults(store, [2])
    assert faults[0] == "silence 2 was added, and is gone"
    assert faults[1:] == ["the silence has counted 0 incidents, 0 events"]
    await save(store, 1, 2)
    assert await find_silence_faults(store, [1]) == [
        "the silence has counted 1 incidents, 2 events"
    ]
    await save(store, 1, 1)
    assert await find_silence_faults(store, [1]) == []
