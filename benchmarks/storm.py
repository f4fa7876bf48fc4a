"""Five hundred volumes, fifty at once: no error, no leak, no flood of listings, no long tail."""

import asyncio
import time
from pathlib import Path

from benchmarks.life import NODE, live
from benchmarks.report import Figure, at_most, percentile, report
from tests.support.orchestrator import Orchestrator, orchestrator
from tests.support.stack import Stack, loops_below, mounts_below

VOLUMES = 500
AT_ONCE = 50
LISTINGS_APART_S = 0.1
LISTINGS = ("GET /volumes", "GET /instances", "GET /snapshots", "GET /zones")


async def measure_storm(root: Path, tier: str) -> None:
    """Print errors, leaks, tail and the closest two listings."""
    async with Stack(root, tier=tier, nodes=(NODE,), max_volumes=AT_ONCE + 10) as stack:
        async with orchestrator(stack) as kube:
            await live(kube, "warm-up")
            await stack.platform("DELETE", "/_devcloud/calls")
            lives, errors = await storm(kube)
            left = await stack.platform("GET", "/volumes") or []
        calls = await stack.platform("GET", "/_devcloud/calls")
        gaps = [row["closest_s"] for route, row in calls.items() if route in LISTINGS and row["closest_s"] is not None]
        leaks = len(left) + len(loops_below(root)) + len(mounts_below(root))
        at_most(f"storm.{tier}.errors", len(errors), "errors", 0)
        at_most(f"storm.{tier}.leaks", leaks, "objects", 0)
        median = percentile(lives, 0.5)
        report(Figure(f"storm.{tier}.p50", median, "s"))
        at_most(f"storm.{tier}.p99_over_p50", percentile(lives, 0.99) / median, "times p50", 4)
        listings = sum(row["count"] for route, row in calls.items() if route in LISTINGS)
        report(Figure(f"storm.{tier}.listings", listings, "calls"))
        if gaps:
            closest = min(gaps)
            bound = f">= {LISTINGS_APART_S} s"
            report(Figure(f"storm.{tier}.listings_apart", closest, "s", bound, closest >= LISTINGS_APART_S))
        for error in errors[:5]:
            report(Figure(f"storm.{tier}.error: {error}"[:200], 1, "error"))


async def storm(kube: Orchestrator) -> tuple[list[float], list[str]]:
    """Run all lives, at most `AT_ONCE` at a time; gives their times and the texts of failures."""
    lives: list[float] = []
    errors: list[str] = []
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with places:
            started = time.perf_counter()
            try:
                await live(kube, f"storm-{number}")
            except Exception as error:  # noqa: BLE001 -- every failure is a figure of this benchmark
                errors.append(str(error))
            lives.append(time.perf_counter() - started)

    await asyncio.gather(*(one(number) for number in range(VOLUMES)))
    return lives, errors
