"""The results as a table, with their goals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """One figure that was measured in every pair."""

    scenario: str
    what: str
    unit: str
    relay: Sequence[float]
    """relay's values, pair by pair."""
    base: Sequence[float] = ()
    """The values to compare with, pair by pair; empty if there is nothing to compare with."""
    against: str = "script"
    """The name of what ``base`` was measured on."""
    goal: float | None = None
    """The highest allowed median, of the ratios or, without a base, of the values."""
    is_rate: bool = False
    """Whether more is better; then the goal is the lowest allowed median."""

    @property
    def results(self) -> list[float]:
        """The ratios or, without a base, the values; in ascending order."""
        if not self.base:
            return sorted(self.relay)
        return sorted(mine / other for mine, other in zip(self.relay, self.base, strict=True))

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        found = median(self.results)
        return found >= self.goal if self.is_rate else found <= self.goal

    def as_json(self) -> dict[str, object]:
        """Return all values and results for JSON."""
        return {
            "scenario": self.scenario,
            "what": self.what,
            "unit": self.unit,
            "relay": list(self.relay),
            "base": list(self.base),
            "against": self.against if self.base else None,
            "min": self.results[0],
            "median": median(self.results),
            "max": self.results[-1],
            "goal": self.goal,
            "more_is_better": self.is_rate,
            "met": self.is_met,
        }


HEADINGS = ("scenario", "what", "relay", "against", "min", "median", "max", "goal", "")


def lines(rows: Iterable[Row]) -> list[str]:
    """Return the rows as a Markdown table."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADINGS))]
    formatted = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    formatted.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return formatted


def _cells(row: Row) -> tuple[str, ...]:
    mark = ("≥ " if row.is_rate else "≤ ") + ("× " if row.base else "")
    base = f"{row.against} {format_number(median(row.base))}" if row.base else ""
    verdict = {True: "met", False: "missed", None: ""}[row.is_met]
    return (
        row.scenario,
        row.what,
        f"{format_number(median(row.relay))} {row.unit}",
        base,
        format_number(row.results[0]),
        format_number(median(row.results)),
        format_number(row.results[-1]),
        "" if row.goal is None else f"{mark}{format_number(row.goal)}",
        verdict,
    )


def format_number(value: float) -> str:
    """Format a number with about three significant digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
