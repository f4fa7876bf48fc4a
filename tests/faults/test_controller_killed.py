"""SIGKILL of the controller before and after any platform call: repeated, the call converges to one object."""

from pathlib import Path
from typing import Any

import pytest

from tests.faults.crash_run import CrashRun, each_side_effect
from tests.support.orchestrator import Orchestrator, orchestrator, until_ok
from tests.support.stack import Stack, loops_below


async def volumes(stack: Stack) -> list[dict[str, Any]]:
    return await stack.platform("GET", "/volumes") or []


async def snapshots(stack: Stack) -> list[dict[str, Any]]:
    return await stack.platform("GET", "/snapshots") or []


@pytest.mark.root
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tier", ["extended", "strict"])
async def test_controller_killed_between_side_effects_converges(tier: str, tmp_path: Path) -> None:
    async with Stack(tmp_path / "s", tier=tier, nodes=("node-a",)) as stack:
        run = CrashRun(stack, "controller")
        counts = {
            "create": await each_side_effect(run, lambda kube: kube.create("claim"), settle_create),
            "delete": await killed_in_delete(run),
            "attach": await killed_in_attach(run),
            "detach": await killed_in_detach(run),
        }
        if tier == "extended":
            counts["snapshot"] = await killed_in_snapshot(run)
        assert all(count >= 2 for count in counts.values()), counts
        assert await volumes(stack) == []
        assert not loops_below(stack.root)


async def settle_create(kube: Orchestrator, where: str) -> None:
    volume = await until_ok(lambda: kube.create("claim"))
    assert [row["id"] for row in await volumes(kube.stack)] == [volume.volume_id], where
    await kube.delete(volume.volume_id)
    assert await volumes(kube.stack) == []


async def killed_in_delete(run: CrashRun) -> int:
    async def call(kube: Orchestrator) -> None:
        volume = (await volumes(run.stack))[0]
        await kube.delete(volume["id"])

    async def settle(kube: Orchestrator, where: str) -> None:
        for row in await volumes(run.stack):
            await until_ok(lambda row=row: kube.delete(row["id"]))
        assert await volumes(run.stack) == [], where
        await until_ok(lambda: kube.create("claim"))

    async with orchestrator(run.stack) as kube:
        await kube.create("claim")
    count = await each_side_effect(run, call, settle)
    async with orchestrator(run.stack) as kube:
        await kube.delete((await volumes(run.stack))[0]["id"])
    return count


async def killed_in_attach(run: CrashRun) -> int:
    async with orchestrator(run.stack) as kube:
        vid = (await kube.create("claim")).volume_id

    async def settle(kube: Orchestrator, where: str) -> None:
        context = await until_ok(lambda: kube.attach(vid, "node-a"))
        assert context, where
        assert [row["status"] for row in await volumes(run.stack)] == ["IN-USE"], where
        assert len(loops_below(run.stack.root)) == 1, where
        await kube.detach(vid, "node-a")

    count = await each_side_effect(run, lambda kube: kube.attach(vid, "node-a"), settle)
    async with orchestrator(run.stack) as kube:
        await kube.delete(vid)
    return count


async def killed_in_detach(run: CrashRun) -> int:
    async with orchestrator(run.stack) as kube:
        vid = (await kube.create("claim")).volume_id
        await kube.attach(vid, "node-a")

    async def settle(kube: Orchestrator, where: str) -> None:
        await until_ok(lambda: kube.detach(vid, "node-a"))
        assert [row["status"] for row in await volumes(run.stack)] == ["AVAILABLE"], where
        assert not loops_below(run.stack.root), where
        await kube.attach(vid, "node-a")

    count = await each_side_effect(run, lambda kube: kube.detach(vid, "node-a"), settle)
    async with orchestrator(run.stack) as kube:
        await kube.detach(vid, "node-a")
        await kube.delete(vid)
    return count


async def killed_in_snapshot(run: CrashRun) -> int:
    async with orchestrator(run.stack) as kube:
        vid = (await kube.create("claim")).volume_id

    async def settle(kube: Orchestrator, where: str) -> None:
        snapshot = await until_ok(lambda: kube.snapshot("snap", vid))
        assert [row["id"] for row in await snapshots(run.stack)] == [snapshot.snapshot_id], where
        await kube.delete_snapshot(snapshot.snapshot_id)
        assert await snapshots(run.stack) == []

    count = await each_side_effect(run, lambda kube: kube.snapshot("snap", vid), settle)
    async with orchestrator(run.stack) as kube:
        await kube.delete(vid)
    return count
