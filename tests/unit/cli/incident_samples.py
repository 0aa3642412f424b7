"""Samples: incidents in a store, and one as commands show it."""

from relay.core.incident import Condition, Status
from relay.core.severity import Severity
from relay.incidents.rows import encode_changes
from relay.incidents.state import Changes
from relay.incidents.view import IncidentView
from relay.store.outbox import Outbox
from tests.unit.cli.cli_store import Installation, in_store
from tests.unit.incidents.events import ns
from tests.unit.incidents.world import World

VIEW = IncidentView(
    id="inc_" + "0" * 32,
    destination="ops",
    subject="web",
    key="here/container/web",
    route="died",
    severity=Severity.CRITICAL,
    status=Status.FIRING,
    condition=Condition.DOWN,
    crash_looping=False,
    started_ns=ns(0),
    last_event_ns=ns(0),
    total=1,
    unreported=0,
    deaths=1,
    unhealthy=0,
    message_count=1,
    group={},
    reported_ns=ns(3),
)


def fill(installation: Installation, world: World) -> list[str]:
    """Store a world's rows; return the ids of its incidents by the names of their subjects."""

    async def save(outbox: Outbox) -> None:
        await outbox.save_incident_rows(encode_changes(Changes(world.dispatcher.export())))

    in_store(installation.store, save)
    known = sorted(world.dispatcher.list_incidents(), key=lambda each: each.name)
    return [each.id for each in known]
