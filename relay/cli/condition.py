"""How a destination is, in words."""

from relay.cli.shown import moment, name, span
from relay.condition import Condition

NOT_CONFIGURED = "not configured: what waits becomes dead letters when relay starts"


def state(to: str, condition: Condition | None, now_ns: int) -> str:
    """What holds up a destination; ``condition`` is None where no relay runs."""
    if condition is None:
        return "no relay is running"
    resumes_ns = condition.resumes_ns or 0
    if condition.stopped:
        return f"stopped, it wants no more (410): relay destination enable {name(to)}"
    if condition.failing:
        return f"failing, next probe {when(resumes_ns, now_ns)}"
    if resumes_ns > now_ns:
        return f"asks to be left alone until {moment(resumes_ns)}"
    return "working"


def when(time_ns: int, now_ns: int) -> str:
    """A time from now on."""
    return "now" if time_ns <= now_ns else f"in {span(time_ns - now_ns)}"
