"""`make bench-kaas`: what many simulated clusters cost, and how much time one cluster loses in kaas itself.

    crowd      three conductors on PostgreSQL, 1,000 clusters of one control plane and one worker asked for by the API,
               one conductor killed in the middle; then nothing happens; then some grow; then all are deleted
    overhead   `kaas serve` on SQLite and a world that takes no time: one control plane and two workers

The simulated platform runs inside of the conductors; its calls are counted as their work.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from benchmarks.kaas_ledger import by_family, creates_of, left_over, own_seconds, repeated_commands
from benchmarks.kaas_overhead import measure_overhead
from benchmarks.kaas_rig import Program, Rig, rig, spread, until
from benchmarks.report import Figure, at_most, percentile, report
from kaas.app import simulated_times

LEASE_S = 60
CONDUCTORS = 3
TAKEOVER_S = LEASE_S * 1.5
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much there is."""

    clusters: int = 1000
    scaled: int = 100
    """So many of them get one more worker."""
    at_once: int = 16
    """Requests at one time."""
    idle_s: int = 120
    """Time in which nothing happens."""
    kills: int = 1
    """Conductors that are killed while clusters are made."""
    limit_s: int = 3000
    """For one phase; what is not done then is counted as missing."""
    repeats: int = 5
    """Clusters of the overhead, one after the other."""
    pace: float = 1.0
    """How slow the world of the crowd is: 1 is about as slow as a real one."""


@dataclass(frozen=True, slots=True)
class _Cost:
    """What was used until now."""

    at: float
    statements: int
    transactions: int
    database_s: float
    by_program: dict[str, float]


class Crowd:
    """The figures of many clusters on one set of processes."""

    def __init__(self, made: Rig, sizes: Sizes) -> None:
        self._rig = made
        self._sizes = sizes
        self._names = [f"c{number:04d}" for number in range(sizes.clusters)]
        self._dead_s: dict[str, float] = {}
        """Processor's time of the conductors that were killed."""

    async def measure(self) -> None:
        """Print everything."""
        for _ in range(CONDUCTORS):
            await self._rig.start_conductor()
        report(Figure("kaas.crowd.load_before", os.getloadavg()[0], "runnable"))
        await self._measure_create()
        await self._measure_idle()
        await self._measure_scale()
        await self._measure_delete()
        self._judge()
        report(Figure("kaas.crowd.load_after", os.getloadavg()[0], "runnable"))

    async def _measure_create(self) -> None:
        count, before = self._sizes.clusters, await self._cost()
        killing = asyncio.create_task(self._kill())
        await self._ask_for("create", [partial(self._create, name) for name in self._names])
        left = await self._until_ended("create", count)
        wall_s = time.perf_counter() - before.at
        await killing
        after = await self._cost()
        at_most(f"kaas.crowd.{count}_created.not_running", left, "clusters", 0)
        report(Figure(f"kaas.crowd.{count}_created.seconds", wall_s, "s"))
        self._report_cost("create", before, after, count)
        await self._report_steps("create")
        self._report_memory()

    async def _create(self, name: str) -> None:
        await self._rig.ask("POST", "/clusters", {"name": name, "workers": 1})

    async def _kill(self) -> None:
        """Kill conductors in the middle, see their clusters taken over, and start new ones in their place."""
        for number in range(1, self._sizes.kills + 1):
            aim = self._sizes.clusters * number // (self._sizes.kills + 1)
            if not await until(partial(self._has_made, aim), self._sizes.limit_s):
                return
            victim = await self._busiest()
            self._dead_s[victim.name] = victim.cpu_s
            await victim.kill()
            killed_at, held = time.perf_counter(), await self._held_by(victim)
            await until(partial(self._has_nothing, victim), self._sizes.limit_s)
            report(Figure("kaas.crowd.killed.clusters_held", held, "clusters"))
            at_most("kaas.crowd.killed.takeover", time.perf_counter() - killed_at, "s", TAKEOVER_S)
            await self._rig.start_conductor()

    async def _has_made(self, count: int) -> bool:
        return await self._ended("create") >= count

    async def _busiest(self) -> Program:
        """Give the conductor that holds the most clusters."""
        held = {one.process.pid: await self._held_by(one) for one in self._rig.living[1:]}
        return max(self._rig.living[1:], key=lambda one: held[one.process.pid])

    async def _has_nothing(self, victim: Program) -> bool:
        return await self._held_by(victim) == 0

    async def _held_by(self, victim: Program) -> int:
        query = "SELECT count(*) FROM cluster WHERE lease_owner LIKE %s"
        return int((await self._rig.rows(query, f"%-{victim.process.pid}-%"))[0][0])

    async def _measure_idle(self) -> None:
        """Nothing is asked for; conductors look at the health of clusters."""
        before, looks = await self._cost(), await self._looks()
        await asyncio.sleep(self._sizes.idle_s)
        after = await self._cost()
        report(
            Figure("kaas.crowd.idle.looks", (await self._looks() - looks) / self._minutes(before, after), "a minute")
        )
        self._report_cost("idle", before, after, 0)
        await self._expect("running", self._sizes.clusters)

    async def _looks(self) -> int:
        with self._rig.world() as world:
            return await asyncio.to_thread(lambda: len(world.ground.calls(method="kube.nodes")))

    async def _measure_scale(self) -> None:
        chosen, before = self._names[: self._sizes.scaled], await self._cost()
        await self._ask_for("scale", [partial(self._scale, name) for name in chosen])
        left = await self._until_ended("scale", len(chosen))
        at_most(f"kaas.crowd.{len(chosen)}_scaled.not_running", left, "clusters", 0)
        report(Figure(f"kaas.crowd.{len(chosen)}_scaled.seconds", time.perf_counter() - before.at, "s"))

    async def _scale(self, name: str) -> None:
        await self._rig.ask("PUT", f"/clusters/{name}/scale", {"workers": 2})

    async def _measure_delete(self) -> None:
        count, before = self._sizes.clusters, await self._cost()
        await self._ask_for("delete", [partial(self._delete, name) for name in self._names])
        await self._until_ended("delete", count)
        left = int((await self._rig.rows("SELECT count(*) FROM cluster"))[0][0])
        at_most(f"kaas.crowd.{count}_deleted.not_gone", left, "clusters", 0)
        report(Figure(f"kaas.crowd.{count}_deleted.seconds", time.perf_counter() - before.at, "s"))
        self._report_cost("delete", before, await self._cost(), count)
        await self._report_steps("delete")
        self._report_memory()

    async def _delete(self, name: str) -> None:
        await self._rig.ask("DELETE", f"/clusters/{name}")

    async def _ask_for(self, what: str, work: list[Callable[[], Awaitable[None]]]) -> None:
        times_s: list[float] = []

        async def timed(piece: Callable[[], Awaitable[None]]) -> None:
            began = time.perf_counter()
            await piece()
            times_s.append(time.perf_counter() - began)

        await spread((partial(timed, piece) for piece in work), self._sizes.at_once)
        for share in (0.5, 0.99):
            report(Figure(f"kaas.crowd.{what}.request.p{share * 100:g}", percentile(times_s, share), "s"))

    async def _until_ended(self, kind: str, count: int) -> int:
        """Wait until so many operations of a kind have succeeded; give how many have not."""
        began = told_at = time.perf_counter()
        while (ended := await self._ended(kind)) < count and time.perf_counter() - began < self._sizes.limit_s:
            await asyncio.sleep(0.5)
            if time.perf_counter() - told_at > 15:
                told_at = time.perf_counter()
                sys.stderr.write(f"{kind}: {ended} of {count} after {told_at - began:.0f} s\n")
        failed = await self._rig.rows("SELECT error FROM operation WHERE kind = %s AND state = 'failed'", kind)
        sys.stderr.writelines(f"{kind} failed: {row[0]}\n" for row in failed[:_SHOWN])
        return count - ended

    async def _ended(self, kind: str) -> int:
        query = "SELECT count(*) FROM operation WHERE kind = %s AND state = 'succeeded'"
        return int((await self._rig.rows(query, kind))[0][0])

    async def _expect(self, status: str, count: int) -> None:
        there = int((await self._rig.rows("SELECT count(*) FROM cluster WHERE status = %s", status))[0][0])
        at_most(f"kaas.crowd.not_{status}", count - there, "clusters", 0)

    async def _cost(self) -> _Cost:
        asked = await self._rig.statements()
        programs = {one.name: one.cpu_s for one in self._rig.living} | self._dead_s
        return _Cost(time.perf_counter(), asked.statements, asked.transactions, self._rig.database_cpu_s(), programs)

    @staticmethod
    def _minutes(before: _Cost, after: _Cost) -> float:
        return (after.at - before.at) / 60

    def _report_cost(self, phase: str, before: _Cost, after: _Cost, changed: int) -> None:
        """Print what a phase cost; `changed`: for so many operations."""
        api_s = after.by_program["api"] - before.by_program["api"]
        all_s = sum(used - before.by_program.get(name, 0.0) for name, used in after.by_program.items())
        minutes = self._sizes.clusters * self._minutes(before, after)
        asked = after.statements - before.statements
        ended = after.transactions - before.transactions
        name = f"kaas.crowd.{phase}"
        report(Figure(f"{name}.statements", asked / minutes, "a cluster and minute"))
        report(Figure(f"{name}.transactions", ended / minutes, "a cluster and minute"))
        if changed:
            report(Figure(f"{name}.statements_in_all", asked / changed, "a cluster"))
        for program, used_s in (
            ("conductors", all_s - api_s),
            ("api", api_s),
            ("database", after.database_s - before.database_s),
        ):
            if changed:
                report(Figure(f"{name}.cpu.{program}", used_s / changed, "s a cluster"))
            else:
                report(Figure(f"{name}.cpu.{program}", used_s / minutes, "s a cluster and minute"))
                report(Figure(f"{name}.cpu.{program}.of_one_core", used_s / (after.at - before.at), "cores"))

    async def _report_steps(self, kind: str) -> None:
        steps = await self._rig.steps(kind)
        timing = simulated_times(self._sizes.pace)
        if not steps:
            return
        for share in (0.5, 0.99):
            word = f"p{share * 100:g}"
            report(Figure(f"kaas.crowd.{kind}.step.{word}", percentile([one.seconds for one in steps], share), "s"))
            own_s = percentile(own_seconds(steps, timing), share)
            report(Figure(f"kaas.crowd.{kind}.step_overhead.{word}", own_s, "s"))
        for family, some in by_family(steps).items():
            times_s = own_seconds(some, timing)
            report(Figure(f"kaas.crowd.{kind}.step_overhead.{family}.p50", statistics.median(times_s), "s"))
            report(Figure(f"kaas.crowd.{kind}.step_overhead.{family}.p99", percentile(times_s, 0.99), "s"))
        tried_again = sum(one.attempts > 1 for one in steps) / len(steps)
        report(Figure(f"kaas.crowd.{kind}.steps_tried_again", tried_again, "of all"))

    def _report_memory(self) -> None:
        for one in self._rig.living:
            report(Figure(f"kaas.crowd.memory.{one.name}", one.resident_mib, "MiB"))

    def _judge(self) -> None:
        """Look into the simulator's own ledger and its world."""
        with self._rig.world() as world:
            calls = world.ground.calls()
            made, again, left = creates_of(calls), repeated_commands(calls), left_over(world)
        for what in (*made.twice, *again, *left)[:_SHOWN]:
            sys.stderr.write(f"should not be: {what}\n")
        report(Figure("kaas.crowd.calls", len(calls), "calls of the platform, machines and clusters"))
        report(Figure("kaas.crowd.objects_made", made.made, "objects"))
        at_most("kaas.crowd.made_twice", len(made.twice), "objects", 0)
        at_most("kaas.crowd.commands_repeated", len(again), "commands", 0)
        report(Figure("kaas.crowd.made_anew_after_the_kill", len(made.anew), "objects"))
        at_most("kaas.crowd.orphans", len(left), "objects", 0)


async def measure_crowd(folder: Path, sizes: Sizes) -> None:
    """Print the figures of many clusters."""
    async with rig(folder, f"--simulated-pace={sizes.pace}", f"--lease={LEASE_S}") as made:
        await Crowd(made, sizes).measure()


FIGURES: dict[str, Callable[[Path, Sizes], Awaitable[None]]] = {
    "overhead": lambda folder, sizes: measure_overhead(folder, sizes.repeats),
    "crowd": measure_crowd,
}


async def run(names: list[str], sizes: Sizes) -> None:
    """Measure one after the other, each on processes of its own."""
    for name in names:
        with tempfile.TemporaryDirectory(prefix="thecloud-bench-kaas-") as root:
            await FIGURES[name](Path(root) / "rig", sizes)


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(
        prog="make bench-kaas", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], help="which figures (all)")
    for one in fields(Sizes):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default)
    options = vars(parser.parse_args())
    names = options.pop("figures") or list(FIGURES)
    asyncio.run(run(names, Sizes(**options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
