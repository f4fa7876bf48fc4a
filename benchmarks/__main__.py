"""`make bench`: all figures, or those named on the command line (calls and overhead `life`, `mkfs`, `storm`, …)."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.life import measure_life, measure_mkfs
from benchmarks.memory import measure_memory, measure_start
from benchmarks.storm import measure_storm

FIGURES: dict[str, tuple[Callable[[Path], Awaitable[None]], ...]] = {
    "life": (lambda root: measure_life(root, "extended"), lambda root: measure_life(root, "strict")),
    "mkfs": (measure_mkfs,),
    "start": (measure_start,),
    "memory": (measure_memory,),
    "storm": (lambda root: measure_storm(root, "extended"), lambda root: measure_storm(root, "strict")),
}


async def run(names: list[str]) -> None:
    """Measure one after the other, each on programs of its own."""
    for name in names:
        for measure in FIGURES[name]:
            with tempfile.TemporaryDirectory(prefix="thecloud-bench-") as root:
                await measure(Path(root) / "s")


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="which figures (all)")
    asyncio.run(run(parser.parse_args().figures or list(FIGURES)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
