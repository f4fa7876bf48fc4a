"""What commands write: tables for people, JSON and YAML for programs, names for pipes."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kaas.cli.answers import Item, Plan
from kaas.cli.client import pretty
from kaas.cli.errors import printable

_WIDE = 10_000
_STYLES = {
    "running": "green",
    "ready": "green",
    "succeeded": "green",
    "done": "green",
    "failed": "red",
    "unhealthy": "red",
    "error": "red",
    "warning": "yellow",
}
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


class Format(StrEnum):
    """The forms of output."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def console(stream: TextIO) -> Console:
    """Make a console; where nobody looks at it, lines are never folded."""
    return Console(file=stream, width=None if stream.isatty() else _WIDE, highlight=False, markup=False, emoji=False)


def show(
    form: Format, data: Any, *, names: Iterable[str], columns: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Write a payload in the form that was asked for."""
    if form is Format.JSON:
        sys.stdout.write(pretty(data) + "\n")
    elif form is Format.YAML:
        sys.stdout.write(msgspec.yaml.encode(data).decode())
    elif form is Format.NAME:
        sys.stdout.write("".join(f"{printable(name)}\n" for name in names))
    else:
        table(columns, rows)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table without borders; words of states have their colours on a terminal."""
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(styled(cell) for cell in row))
    out = console(sys.stdout)
    with out.capture() as captured:
        out.print(grid)
    # Columns are padded to the right, which nobody sees and every diff does.
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def styled(text: str) -> Text:
    """Give a text as it is, in the colour of the state that it names."""
    return Text(printable(text), style=_STYLES.get(text.lower(), ""))


def note(text: str) -> None:
    """Write a line for the person, apart from the output."""
    sys.stderr.write(f"{printable(text)}\n")


def show_plan(form: Format, data: Any, plan: Plan) -> None:
    """Write what a change would do."""
    marked = (("+", plan.make), ("=", plan.keep), ("-", plan.remove))
    rows = [(mark, *_words(item)) for mark, items in marked for item in items]
    show(
        form, data, names=[item.name for item in plan.make], columns=("", "KIND", "NAME", "COUNT", "DETAIL"), rows=rows
    )
    if form is not Format.TABLE:
        return
    before, after = plan.usage_before, plan.usage_after
    changes = [f"{name} {before.get(name, 0)} -> {amount}" for name, amount in after.items()]
    note(f"plan of a {plan.operation}, nothing was changed; quota: {', '.join(changes)}")
    for warning in plan.warnings:
        note(f"note: {warning}")


def age(moment: datetime | None, *, now: datetime | None = None) -> str:
    """Tell how long ago something was."""
    return "" if moment is None else duration(((now or datetime.now(UTC)) - moment).total_seconds())


def duration(seconds: float) -> str:
    """Write a duration in at most two units: `1m20s`."""
    left = max(0, round(seconds))
    words: list[str] = []
    for size, unit in _UNITS:
        if left >= size and len(words) < 2:  # noqa: PLR2004 - further units are noise
            words.append(f"{left // size}{unit}")
            left %= size
        elif words:
            break
    return "".join(words) or "0s"


def _words(item: Item) -> tuple[str, str, str, str]:
    return item.kind, item.name, str(item.count), item.detail
