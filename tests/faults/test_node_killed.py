"""SIGKILL of the node plugin at any side effect: the call repeated converges, data is kept, mkfs never runs twice."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from csi.pb import csi_pb2 as pb
from tests.faults.crash_run import MOST_SIDE_EFFECTS, CrashRun, each_side_effect
from tests.support.orchestrator import Orchestrator, capability, orchestrator, until_ok
from tests.support.stack import Stack, loops_below, mounts_below

NODE = "node-a"
OTHER = "node-b"
TEXT = "only copy"


@dataclass(frozen=True, slots=True)
class Claim:
    """A volume that is attached to a node and the calls on it, each with what must hold after it was repeated."""

    stack: Stack
    volume: pb.Volume
    context: Mapping[str, str]
    cap: pb.VolumeCapability
    node: str = NODE

    @property
    def volume_id(self) -> str:
        return self.volume.volume_id

    @property
    def staging(self) -> Path:
        return self.stack.staging_path(self.node, self.volume_id)

    @property
    def target(self) -> Path:
        return self.stack.target_path(self.node, self.volume_id)

    async def stage(self, kube: Orchestrator) -> None:
        await kube.stage(self.volume, self.node, self.context, self.cap)

    async def publish(self, kube: Orchestrator) -> None:
        await kube.publish(self.volume, self.node, self.context, self.cap)

    async def unpublish(self, kube: Orchestrator) -> None:
        await kube.unpublish(self.volume_id, self.node)

    async def unstage(self, kube: Orchestrator) -> None:
        await kube.unstage(self.volume_id, self.node)

    async def settle_stage(self, kube: Orchestrator, where: str) -> None:
        await until_ok(lambda: self.stage(kube))
        assert (self.staging / "data.txt").read_text() == TEXT, where
        await self.unstage(kube)
        assert not mounts_below(self.stack.root), where

    async def settle_publish(self, kube: Orchestrator, where: str) -> None:
        await until_ok(lambda: self.publish(kube))
        assert (self.target / "data.txt").read_text() == TEXT, where
        assert len(mounts_below(self.stack.root)) == 2, where
        await self.unpublish(kube)

    async def settle_unpublish(self, kube: Orchestrator, where: str) -> None:
        await until_ok(lambda: self.unpublish(kube))
        assert len(mounts_below(self.stack.root)) == 1, where
        assert not self.target.exists(), where
        await self.publish(kube)

    async def settle_unstage(self, kube: Orchestrator, where: str) -> None:
        await until_ok(lambda: self.unstage(kube))
        assert not mounts_below(self.stack.root), where
        await self.stage(kube)


async def attached(stack: Stack, name: str, cap: pb.VolumeCapability) -> Claim:
    async with orchestrator(stack) as kube:
        volume = await kube.create(name, cap=cap)
        return Claim(stack, volume, await kube.attach(volume.volume_id, NODE, cap), cap)


async def moved(claim: Claim, node: str) -> Claim:
    """Do what the orchestrator does with a claim whose pod goes elsewhere after a stage of unknown outcome."""
    async with orchestrator(claim.stack) as kube:
        await until_ok(lambda: claim.unstage(kube))
        await kube.detach(claim.volume_id, claim.node)
        return replace(claim, node=node, context=await kube.attach(claim.volume_id, node, claim.cap))


async def removed(claim: Claim) -> None:
    async with orchestrator(claim.stack) as kube:
        await kube.detach(claim.volume_id, claim.node)
        await kube.delete(claim.volume_id)


@pytest.mark.root
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("fs_type", "finisher"), [("ext4", NODE), ("xfs", OTHER)])
async def test_killed_in_a_stage_that_formats_ends_with_one_usable_file_system(
    fs_type: str, finisher: str, tmp_path: Path
) -> None:
    cap = capability(fs_type)
    async with Stack(tmp_path / "s", nodes=(NODE, OTHER)) as stack:
        run = CrashRun(stack, NODE)
        await run.restart(1)
        for at in range(1, MOST_SIDE_EFFECTS):
            claim = await attached(stack, f"fresh-{at}", cap)
            where = await run.dies_at(at, claim.stage)
            await run.restart(at + 1)
            if finisher != claim.node:
                claim = await moved(claim, finisher)
            await stages_and_keeps_data(claim, where)
            await removed(claim)
            if where is None:
                break
        assert 6 < at < MOST_SIDE_EFFECTS - 1
        assert not loops_below(stack.root)


async def stages_and_keeps_data(claim: Claim, where: str | None) -> None:
    async with orchestrator(claim.stack) as kube:
        await until_ok(lambda: claim.stage(kube))
        assert len(mounts_below(claim.stack.root)) == 1, where
        (claim.staging / "data.txt").write_text(TEXT)
        await claim.unstage(kube)
        await claim.stage(kube)
        assert (claim.staging / "data.txt").read_text() == TEXT, where
        await claim.unstage(kube)


@pytest.mark.root
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fs_type", ["ext4", "xfs"])
async def test_killed_in_stage_publish_unpublish_unstage_keeps_the_data(fs_type: str, tmp_path: Path) -> None:
    async with Stack(tmp_path / "s", nodes=(NODE,)) as stack:
        run = CrashRun(stack, NODE)
        claim = await attached(stack, "claim", capability(fs_type))
        async with orchestrator(stack) as kube:
            await claim.stage(kube)
            (claim.staging / "data.txt").write_text(TEXT)
            await claim.unstage(kube)
        counts = [await each_side_effect(run, claim.stage, claim.settle_stage)]
        async with orchestrator(stack) as kube:
            await claim.stage(kube)
        counts.append(await each_side_effect(run, claim.publish, claim.settle_publish))
        async with orchestrator(stack) as kube:
            await claim.publish(kube)
        counts.append(await each_side_effect(run, claim.unpublish, claim.settle_unpublish))
        async with orchestrator(stack) as kube:
            await claim.unpublish(kube)
        counts.append(await each_side_effect(run, claim.unstage, claim.settle_unstage))
        async with orchestrator(stack) as kube:
            await claim.unstage(kube)
        assert all(count >= 2 for count in counts), counts
        await removed(claim)
        assert not loops_below(stack.root)
