"""Counts the messages of a day in three ways: ``python -m tools.quiet_day RECORDING``.

The recording is what ``python -m tools.incidents --record FILE`` has written. Each of its stimuli
happens at its hour of one day, and the daemon's own code decides what is sent: with a message for
each event, with incidents, and with incidents and quiet hours. Prints how many messages each
destination gets, and each of them.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from relay.cli.tables import describe_notification
from relay.core.zone import TimeZone
from relay.destinations.catalog import parse_config
from relay.dryrun.history import Recording, number_records
from relay.dryrun.incidents import PlannedNotification
from relay.dryrun.simulator import Simulator

PROJECT = "com.docker.compose.project"
ZONE = TimeZone("Europe/Berlin")
MIDNIGHT_NS = 1_795_474_800 * 10**9
"""2026-11-24 00:00 in `ZONE`."""
MINUTE_NS = 60 * 10**9
HOURS: Mapping[str, float] = {
    "loop": 2.0,
    "oom": 4.5,
    "three": 6.75,
    "stack": 9.5,
    "recreated": 14.0,
    "changes": 16.0,
    "flapping": 23.0,
}
"""When each stimulus of `tools.incidents` happens, in hours since midnight."""

CONFIG = """
time_zone: Europe/Berlin
mute_time_intervals:
  nights: [{{times: "22:00-07:00"}}]
destinations:
  ops: {{type: slack, url: "https://hooks.slack.com/services/T0/B0/c", {chat}}}
  phone: {{type: ntfy, topic: mine, {chat}}}
  oncall: {{type: pagerduty, routing_key: {key}, {pager}}}
  audit: {{type: http, url: "https://audit.lan/hook"}}
routes:
  - {{name: noise, match: {{action: "exec_*"}}, drop: true}}
  - name: failed
    match: &failed
      type: container
      any: [{{action: die, cause: [crashed, oom]}}, {{action: oom}}, {{health: unhealthy}}]
    to: [ops, phone, audit]
  - {{name: page, match: *failed, to: oncall}}
  - name: changes
    match: {{action: [start, die, destroy], label: {{{project}: changes}}}}
    to: ops
"""


@dataclass(frozen=True, slots=True)
class Way:
    """A way of notifying people: the keys of chats and phones, and of the pager."""

    title: str
    chat: str
    pager: str


WAYS = (
    Way("each event", "notify: events", "notify: events"),
    Way("incidents", "", ""),
    Way("quiet hours", "mute: nights", "for: 5m"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is sent in one way, and how many events are held back, by reason."""

    way: Way
    planned: Sequence[PlannedNotification]
    held: Mapping[str, int]

    def count(self, destination: str) -> int:
        """Return how many messages a destination gets."""
        return sum(destination in each.destinations for each in self.planned)


def make_day(lines: Iterable[bytes]) -> list[bytes]:
    """Return the records of the stimuli at their hours, in the order of time."""
    events: list[dict[str, Any]] = [msgspec.json.decode(it) for _, it in number_records(lines)]
    first_ns: dict[str, int] = {}
    day = []
    for event in events:
        project = event["Actor"]["Attributes"].get(PROJECT)
        if project in HOURS:
            start_ns = first_ns.setdefault(project, event["timeNano"])
            at_ns = MIDNIGHT_NS + round(HOURS[project] * 60) * MINUTE_NS
            time_ns = at_ns + event["timeNano"] - start_ns
            day.append({**event, "timeNano": time_ns, "time": time_ns // 10**9})
    day.sort(key=lambda event: event["timeNano"])
    return [msgspec.json.encode(event) for event in day]


def play(day: Iterable[bytes], way: Way) -> Outcome:
    """Return what is sent in one way."""
    text = CONFIG.format(chat=way.chat, pager=way.pager, project=PROJECT, key="a1" * 16)
    config = parse_config(text, file="day", environ={}, folder=Path())
    simulator = Simulator(config)
    batches = simulator.run(Recording(simulator, day, is_from_engine=True))
    planned = [each for batch in batches for each in batch.planned]
    return Outcome(way, planned, simulator.incidents.count_totals().held)


def report(day: Sequence[bytes]) -> str:
    """Return the counts as a table, then the messages to people in each way, as Markdown."""
    outcomes = [play(day, way) for way in WAYS]
    names = ("ops", "phone", "oncall", "audit")
    titles = [outcome.way.title for outcome in outcomes]
    lines = [f"A day of {len(day)} events of an engine.", ""]
    lines += [f"| messages to | {' | '.join(titles)} |", f"|---|{'---|' * len(outcomes)}"]
    for name in names:
        lines.append(f"| {name} | {' | '.join(str(each.count(name)) for each in outcomes)} |")
    nights = [str(count_nightly(outcome)) for outcome in outcomes]
    lines.append(f"| people, from 22:00 to 07:00 | {' | '.join(nights)} |")
    held = [", ".join(f"{k} {v}" for k, v in each.held.items()) or "none" for each in outcomes]
    lines.append(f"| events held back | {' | '.join(held)} |")
    for outcome in outcomes[1:]:
        lines += ["", f"## {outcome.way.title}", ""]
        lines += [_describe(each) for each in outcome.planned if each.destinations != ("audit",)]
    return "\n".join(lines)


def count_nightly(outcome: Outcome) -> int:
    """Return how many messages people get at night, at ops, phone and oncall."""
    counts = Counter[bool]()
    for each in outcome.planned:
        hour = ZONE.to_local(each.at_ns).hour
        counts[hour >= 22 or hour < 7] += len(set(each.destinations) - {"audit"})
    return counts[True]


def _describe(planned: PlannedNotification) -> str:
    to, what = ", ".join(planned.destinations), describe_notification(planned.notification, ZONE)
    return f"- {ZONE.to_local(planned.at_ns):%a %H:%M:%S} {to}: {what}"


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path, help="of tools.incidents --record")
    day = make_day(parser.parse_args().recording.read_bytes().splitlines())
    if not day:
        parser.error(f"the recording has no event of {', '.join(HOURS)}")
    print(report(day))


if __name__ == "__main__":
    main()
