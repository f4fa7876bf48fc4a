"""The main job for people to watch: a claim becomes a mounted disk, and everything that can happen to it after.

Starts devcloud, the controller and two node plugins on this machine and plays Kubernetes' part: the calls that the
sidecars and the kubelet make. A live table in a terminal, plain lines elsewhere.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import grpc.aio
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from csi.pb import csi_pb2 as pb
from tests.support.orchestrator import Orchestrator, from_snapshot, from_volume, orchestrator
from tests.support.stack import Stack, loops_below, mounts_below

Answer = TypeVar("Answer")
FIRST, SECOND = "node-a", "node-b"


@dataclass(slots=True)
class Row:
    """One step: what it does, what came of it, how long it took."""

    title: str
    result: str = "…"
    seconds: float | None = None


@dataclass(slots=True)
class Board:
    """The steps so far, as a live table or as lines."""

    console: Console
    live: Live | None = None
    rows: list[Row] = field(default_factory=list)

    def table(self) -> Table:
        """Draw the steps."""
        # One line a step, so that the table fits a terminal of 80 columns and 24 lines.
        table = Table(
            title="A claim becomes a mounted disk", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
        )
        table.add_column("step", no_wrap=True)
        table.add_column("result", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        for row in self.rows:
            spent = "" if row.seconds is None else f"{row.seconds * 1000:,.0f} ms"
            table.add_row(row.title, row.result, spent)
        return table

    async def step(self, title: str, work: Awaitable[Answer], tell: str = "done") -> Answer:
        """Run one step and show it; `tell` is shown when it succeeded, with `{}` replaced by the answer."""
        row = Row(title)
        self.rows.append(row)
        self._show()
        started = time.monotonic()
        try:
            answer = await work
        except BaseException:
            row.result, row.seconds = "failed", time.monotonic() - started
            self._show(row)
            raise
        row.result, row.seconds = tell.format(answer), time.monotonic() - started
        self._show(row)
        return answer

    def _show(self, finished: Row | None = None) -> None:
        if self.live is not None:
            self.live.update(self.table())
        elif finished is not None:
            print(f"{finished.title:<58} {(finished.seconds or 0) * 1000:>7,.0f} ms  {finished.result}", flush=True)


async def size_of(path: Path) -> str:
    """Tell the size of the file system at a path."""
    total = (await asyncio.to_thread(shutil.disk_usage, path)).total
    return f"{total / (1 << 30):.2f} GiB"


async def write(path: Path, text: str) -> None:
    """Write a file and flush it to the disk."""
    process = await asyncio.create_subprocess_exec(
        "dd", f"of={path}", "conv=fsync", "status=none", stdin=asyncio.subprocess.PIPE
    )
    await process.communicate(text.encode())
    if process.returncode:
        raise OSError(f"writing {path} failed")


async def check(path: Path, text: str) -> None:
    """Fail unless the file holds the text."""
    seen = await asyncio.to_thread(path.read_text)
    if seen != text:
        raise OSError(f"{path} holds {seen!r}, not {text!r}")


async def life(board: Board, kube: Orchestrator) -> Path:
    """Take one claim through its whole life; gives the folder where its clone is mounted at the end."""
    stack, text = kube.stack, "written by the pod\n"
    volume = await board.step("CreateVolume: claim of 1 GiB", kube.create("demo-claim"), "volume {0.volume_id:.8}")
    vid = volume.volume_id
    context = await board.step(f"ControllerPublish: attach to {FIRST}", kube.attach(vid, FIRST), "disk presented")
    await board.step("NodeStage: find by serial, mkfs.ext4, mount", kube.stage(volume, FIRST, context), "staged")
    await board.step("NodePublish: bind into the pod", kube.publish(volume, FIRST, context), "mounted")
    pod = stack.target_path(FIRST, vid)
    await board.step("the pod writes and flushes", write(pod / "data.txt", text), "data.txt")
    snapshot = await board.step("CreateSnapshot", kube.snapshot("demo-snapshot", vid), "snapshot {0.snapshot_id:.8}")
    await board.step("the pod moves: unpublish, unstage, detach", kube.take_down(vid, FIRST), "detached")
    await board.step("ControllerExpand: 1 → 2 GiB, offline", kube.expand(vid, 2), "{0.capacity_bytes} bytes")
    await board.step(f"attach, stage (grow it), publish on {SECOND}", kube.bring_up(volume, SECOND), "mounted")
    pod = stack.target_path(SECOND, vid)
    await board.step("the data is there", check(pod / "data.txt", text), "data.txt is the same")
    await board.step("the file system has grown", size_of(pod), "{}")
    restored = await board.step(
        "restore the snapshot into a volume of 2 GiB",
        kube.create("demo-restored", size_gib=2, source=from_snapshot(snapshot.snapshot_id)),
        "volume {0.volume_id:.8}",
    )
    await board.step("attach, stage, publish it", kube.bring_up(restored, FIRST), "mounted")
    await board.step("the data is there", check(stack.target_path(FIRST, restored.volume_id) / "data.txt", text))
    clone = await board.step(
        "clone the volume", kube.create("demo-clone", size_gib=2, source=from_volume(vid)), "volume {0.volume_id:.8}"
    )
    await board.step("attach, stage, publish the clone beside it", kube.bring_up(clone, SECOND), "mounted")
    await board.step("the data is there", check(stack.target_path(SECOND, clone.volume_id) / "data.txt", text))
    return stack.target_path(SECOND, clone.volume_id)


async def tear_down(board: Board, kube: Orchestrator) -> None:
    """Take every volume and snapshot of the demonstration away again."""
    listed = await kube.controller.ListVolumes(pb.ListVolumesRequest())
    for entry in listed.entries:
        vid = entry.volume.volume_id
        for node in entry.status.published_node_ids:
            name = await node_name(kube, node)
            await board.step(f"take {vid[:8]} from the pod and from {name}", kube.take_down(vid, name), "detached")
        await board.step(f"DeleteVolume {vid[:8]}", kube.delete(vid), "deleted")
    for snapshot in (await kube.controller.ListSnapshots(pb.ListSnapshotsRequest())).entries:
        sid = snapshot.snapshot.snapshot_id
        await board.step(f"DeleteSnapshot {sid[:8]}", kube.delete_snapshot(sid), "deleted")


async def node_name(kube: Orchestrator, node_id: str) -> str:
    """Name the node plugin behind a published node id, which may be the instance's id."""
    if node_id in kube.nodes:
        return node_id
    instances = await kube.stack.platform("GET", "/instances")
    return next(instance["name"] for instance in instances if instance["id"] == node_id)


def show_mount(console: Console, folder: Path) -> None:
    """Print the mount and what is in it."""
    tell = partial(console.print, soft_wrap=True)
    tell(f"\nmounted at [bold]{folder}[/bold]:")
    row = next(line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {folder} " in line)
    mounted, _, source = row.partition(" - ")
    tell(f"  {source}  ({mounted.split()[5]})")
    for entry in sorted(folder.iterdir()):
        content = entry.read_text().rstrip() if entry.is_file() else "folder"
        tell(f"  {entry.name}: {content}")


def tell_commands(console: Console, stack: Stack, folder: Path) -> None:
    """Print how to look at what is left running."""
    # Not wrapped: the lines are there to be copied.
    tell = partial(console.print, soft_wrap=True)
    tell("\nleft running; to look at it:")
    tell(f"  findmnt -R {folder}")
    tell("  losetup --list")
    tell(f'  curl -s -H "X-API-Key: $(cat {stack.data_dir / "api-key"})" {stack.base_url}/volumes')
    tell(f"  {sys.executable} -m controller.app doctor --platform-url {stack.base_url} \\")
    tell(f"      --api-key-file {stack.data_dir / 'api-key'} --cluster-id stack")
    tell(f"  tail {stack.root}/*.log")
    tell("Ctrl-C ends it and cleans up.")


async def run(*, keep: bool) -> int:
    """Run the demonstration; gives the exit code."""
    console = Console()
    root = Path(tempfile.mkdtemp(prefix="thecloud-demo-"))
    board, started = Board(console), time.monotonic()
    stack = Stack(root, nodes=(FIRST, SECOND))
    try:
        if console.is_terminal:
            board.live = Live(console=console, refresh_per_second=8)
            board.live.start()
        await board.step("start devcloud, the controller and two nodes", stack.__aenter__(), "serving")
        async with orchestrator(stack) as kube:
            folder = await life(board, kube)
            if board.live is not None:
                board.live.stop()
                board.live = None
            show_mount(console, folder)
            if keep:
                tell_commands(console, stack, folder)
                await stop_signal()
            await tear_down(board, kube)
    except grpc.aio.AioRpcError as error:
        console.print(f"[red]{error.code().name}[/red]: {error.details()}\nlogs are in {root}", soft_wrap=True)
        return 1
    finally:
        if board.live is not None:
            board.live.stop()
        await stack.close()
    left = [*mounts_below(root), *loops_below(root)]
    if left:
        console.print(f"left behind: {left}")
        return 1
    shutil.rmtree(root)
    console.print(f"everything cleaned up; {time.monotonic() - started:.1f} s in all")
    return 0


async def stop_signal() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    stopped = asyncio.Event()
    for sig in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sig, stopped.set)
    await stopped.wait()


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running and print how to look at it")
    return asyncio.run(run(keep=parser.parse_args().keep))


if __name__ == "__main__":
    sys.exit(main())
