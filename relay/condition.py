"""How a destination is at one moment."""

import msgspec


class Condition(msgspec.Struct, frozen=True):
    """Whether it is sent to, and if not, since or until when. Times are those of deliveries."""

    stopped: bool = False
    """It said that it wants nothing any more (410): nothing is sent until it is enabled."""
    failing: bool = False
    """It has failed several times in a row: one attempt at a time finds out when it works again."""
    resumes_ns: int | None = None
    """Nothing is sent before then; None where nothing is waited for."""
