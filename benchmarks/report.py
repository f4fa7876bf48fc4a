"""How a figure is printed: one JSON object per line, with what it is compared to where the project states a bound."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure."""

    name: str
    value: float
    unit: str
    bound: str = ""
    """What the project aims at, in words; empty for a figure that only informs."""
    holds: bool | None = None
    """Whether the aim was reached in this run."""


def report(figure: Figure) -> None:
    """Print a figure."""
    row = {key: value for key, value in asdict(figure).items() if value not in ("", None)}
    row["value"] = round(figure.value, 4)
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def at_most(name: str, value: float, unit: str, bound: float) -> None:
    """Print a figure that should not exceed a bound."""
    report(Figure(name, value, unit, f"<= {bound:g} {unit}", value <= bound))


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]
