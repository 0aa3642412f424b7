"""The state of a destination: its budget of messages, its reminder, and what was held back.

Times are those of relay's steady clock, in nanoseconds.
"""

import msgspec
from msgspec.structs import replace

from relay.incidents.life import MINUTE_NS

BUDGET = 10
"""How many messages a destination may be sent at once."""

BUDGET_INTERVAL_NS = MINUTE_NS
"""After so much time it may be sent one more."""

REFRESH_INTERVAL_NS = 4 * MINUTE_NS
"""How often open incidents are repeated where alerts expire: Alertmanager's ``resolve_timeout`` is
five minutes by default."""


class DestinationState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of a destination between messages. It is stored as one row."""

    name: str
    full_ns: int = 0
    """When its budget will be complete again."""
    reminder: str | None = None
    """The id of the reminder that it has not taken yet."""
    refreshed_ns: int | None = None
    """When its open incidents were repeated last."""
    suppressed: int = 0
    """How many events were held back since its last message."""


def count_budget(state: DestinationState, now_ns: int) -> int:
    """Return how many messages the destination may be sent now."""
    missing_ns = max(0, state.full_ns - now_ns)
    return BUDGET + -missing_ns // BUDGET_INTERVAL_NS


def find_budget_time(state: DestinationState) -> int:
    """Return from when on the destination may be sent a message."""
    return state.full_ns - (BUDGET - 1) * BUDGET_INTERVAL_NS


def spend(state: DestinationState, now_ns: int) -> DestinationState:
    """Return the state after a message."""
    return replace(state, full_ns=max(state.full_ns, now_ns) + BUDGET_INTERVAL_NS)


def correct_times(state: DestinationState, now_ns: int) -> DestinationState:
    """Return the state after a start, when the clock may have been set back."""
    latest_ns = now_ns + BUDGET * BUDGET_INTERVAL_NS
    refreshed_ns = state.refreshed_ns
    if refreshed_ns is not None and refreshed_ns > now_ns:
        refreshed_ns = now_ns
    return replace(state, full_ns=min(state.full_ns, latest_ns), refreshed_ns=refreshed_ns)
