"""How much time one cluster loses in kaas: `kaas serve` on SQLite, and a world in which everything takes no time."""

import asyncio
import sqlite3
import statistics
import time
from datetime import datetime
from pathlib import Path

import httpx

from benchmarks.kaas_ledger import StepTime, busy_seconds, by_family
from benchmarks.kaas_rig import SIMULATED, furnish, own_environment, started
from benchmarks.report import Figure, at_most, report

OVERHEAD_S = 3.0
_LIMIT_S = 120.0
_LOOK_S = 0.02


async def measure_overhead(folder: Path, repeats: int) -> None:
    """Print the time from the request to a cluster of one control plane and two workers that runs, and its steps'."""
    state = folder / "state"
    key = await asyncio.to_thread(furnish, state)
    words = ("serve", *SIMULATED, "--simulated-pace=0", "--listen=127.0.0.1:0", "--phone-home-listen=127.0.0.1:0")
    service = await started("serve", (*words, f"--state-dir={state}"), own_environment(), folder / "serve.log")
    try:
        async with httpx.AsyncClient(
            base_url=service.told.rpartition(" ")[2], headers={"X-API-Key": key}, timeout=_LIMIT_S
        ) as http:
            # The first one reads the program's code from the disk.
            await _made(http, "first")
            times_s, steps = [], []
            for number in range(repeats):
                times_s.append(await _made(http, f"dev-{number}"))
                steps.append(_steps(state / "kaas.db", f"dev-{number}"))
    finally:
        await service.stop()
    at_most("kaas.overhead.create_1_2", statistics.median(times_s), "s", OVERHEAD_S)
    report(Figure("kaas.overhead.create_1_2.most", max(times_s), "s"))
    report(Figure("kaas.overhead.in_steps", statistics.median(busy_seconds(some) for some in steps), "s"))
    families = [by_family(some) for some in steps]
    for family in families[0]:
        longest = [max(one.seconds for one in found[family]) for found in families if family in found]
        report(Figure(f"kaas.overhead.step.{family}", statistics.median(longest), "s"))


async def _made(http: httpx.AsyncClient, name: str) -> float:
    """Make a cluster and give the time until the API says that it runs."""
    began = time.perf_counter()
    answer = await http.post("/clusters", json={"name": name, "workers": 2})
    answer.raise_for_status()
    while (now := time.perf_counter()) - began < _LIMIT_S:
        cluster = (await http.get(f"/clusters/{name}")).raise_for_status().json()["data"]
        if cluster["status"] == "running":
            return now - began
        if cluster["status"] == "failed":
            raise SystemExit(f"{name} failed: {cluster}")
        await asyncio.sleep(_LOOK_S)
    raise SystemExit(f"{name} does not run after {_LIMIT_S:g} s")


def _steps(database: Path, name: str) -> list[StepTime]:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as tables:
        rows = tables.execute(
            "SELECT s.key, s.started_at, s.finished_at, s.attempt FROM operation_step s"
            " JOIN operation o ON o.uuid = s.operation_id JOIN cluster c ON c.uuid = o.cluster_id WHERE c.name = ?",
            (name,),
        ).fetchall()
    tables.close()
    return [
        StepTime(key, datetime.fromisoformat(began), datetime.fromisoformat(ended), attempts)
        for key, began, ended, attempts in rows
    ]
