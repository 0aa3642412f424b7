"""Dropped records, and when they are reported as gaps."""

import pytest

from relay.core.event import GapReason
from relay.ingest.docker.gaps import (
    REPORT_INTERVAL_NS,
    DropReporter,
    Gap,
)
from tests.unit.ingest.docker.samples import at


def test_drops_are_reported_at_once_and_then_together() -> None:
    """At most once a minute, each reason by itself, from the first to the last."""
    reporter, now_ns = DropReporter(), at(0)
    assert reporter.take_due(now_ns) == []
    assert reporter.wait_ns(now_ns) is None
    reporter.add(Gap(GapReason.BUFFER_FULL, 1, 2, 3))
    assert reporter.take_due(now_ns) == [Gap(GapReason.BUFFER_FULL, 1, 2, 3)]
    assert reporter.take_due(now_ns + REPORT_INTERVAL_NS) == []
    reporter.add(Gap(GapReason.BUFFER_FULL, 4, 5, 1))
    reporter.add(Gap(GapReason.RECORD_TOO_LONG, 5, 6, 1))
    reporter.add(Gap(GapReason.BUFFER_FULL, 6, 7, 2))
    assert reporter.wait_ns(now_ns) == REPORT_INTERVAL_NS
    assert reporter.wait_ns(now_ns + REPORT_INTERVAL_NS - 1) == 1
    assert reporter.take_due(now_ns + REPORT_INTERVAL_NS - 1) == []
    assert reporter.wait_ns(now_ns + REPORT_INTERVAL_NS) == 0
    assert reporter.take_due(now_ns + REPORT_INTERVAL_NS) == [
        Gap(GapReason.BUFFER_FULL, 4, 7, 3),
        Gap(GapReason.RECORD_TOO_LONG, 5, 6, 1),
    ]


@pytest.mark.parametrize(("now_ns", "finally_"), [(at(1), True), (at(-1), False)])
def test_drops_that_are_reported_early(now_ns: int, finally_: bool) -> None:
    """Drops are reported early at the end of a session, and if relay's clock was set back."""
    reporter, gap = DropReporter(), Gap(GapReason.BUFFER_FULL, 1, 2, 3)
    reporter.add(gap)
    reporter.take_due(at(0))
    reporter.add(gap)
    assert finally_ or reporter.wait_ns(now_ns) == 0
    assert reporter.take_due(now_ns, is_final=finally_) == [gap]
