"""What was measured, beside its goal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured in every pair."""

    scenario: str
    what: str
    unit: str
    relay: Sequence[float]
    """Its values, pair by pair."""
    base: Sequence[float] = ()
    """What they are compared with, pair by pair; empty for what stands for itself."""
    against: str = "script"
    """What the base is."""
    goal: float | None = None
    """The most that the median may be: of the ratios, or of the values where there is no base."""

    @property
    def judged(self) -> list[float]:
        """The ratios, or the values where there is no base, in rising order."""
        if not self.base:
            return sorted(self.relay)
        return sorted(mine / other for mine, other in zip(self.relay, self.base, strict=True))

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is; None where there is none."""
        return None if self.goal is None else median(self.judged) <= self.goal

    def as_json(self) -> dict[str, object]:
        """All of it, with what follows from it."""
        return {
            "scenario": self.scenario,
            "what": self.what,
            "unit": self.unit,
            "relay": list(self.relay),
            "base": list(self.base),
            "against": self.against if self.base else None,
            "min": self.judged[0],
            "median": median(self.judged),
            "max": self.judged[-1],
            "goal": self.goal,
            "met": self.is_met,
        }


HEAD = ("scenario", "what", "relay", "against", "min", "median", "max", "goal", "")


def lines(rows: Iterable[Row]) -> list[str]:
    """A Markdown table."""
    cells = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(HEAD))]
    shown = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    shown.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return shown


def _cells(row: Row) -> tuple[str, ...]:
    mark = "× " if row.base else ""
    base = f"{row.against} {number(median(row.base))}" if row.base else ""
    verdict = {True: "met", False: "missed", None: ""}[row.is_met]
    return (
        row.scenario,
        row.what,
        f"{number(median(row.relay))} {row.unit}",
        base,
        number(row.judged[0]),
        number(median(row.judged)),
        number(row.judged[-1]),
        "" if row.goal is None else f"{mark}{number(row.goal)}",
        verdict,
    )


def number(value: float) -> str:
    """With about three digits that count."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
