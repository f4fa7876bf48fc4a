"""`tc-csi-node doctor`: looks at this host as the plugin would and says what to do about what it finds.

It changes nothing. Not here: the running plugin's own findings (`health`), the platform (`tc-csi-controller doctor`).
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from csi.driver import DRIVER_NAME
from csi.errors import CsiError
from node.app import Host, cluster_of, devices_of, identities_of, this_host
from node.health import BASE_TOOLS, TOOLS
from node.kube.api import KubeApi
from node.kube.attachments import KubeAttachments
from node.kube.csi_nodes import KubeCsiNodes
from node.kube.nodes import KubeNodes
from node.model import Device, FsType
from node.ports import SilentObserver
from node.settings import NodeSettings
from process.command_line import EXIT_OK, EXIT_USAGE, settings_or_exit_code
from process.logs import LogLevel, configure_logging

EXIT_PROBLEMS = 1
SUMMARY = "Checks this host and says what to do. --output json prints JSON."
LIMIT_S = 15.0
COMMAND_LIMIT_S = 5.0

_VERSION_FLAGS = {"mkfs.ext4": "-V", "mkfs.xfs": "-V", "mkfs.btrfs": "--version", "blkid": "-V", "mount": "--version"}
_CAPABILITIES = {"CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24}
_MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "overlay"})


class Verdict(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """The plugin works, but something of it does not."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    check: str
    verdict: Verdict
    seen: str
    advice: str = ""


class Doctor:
    """Looks at one host."""

    def __init__(self, settings: NodeSettings, host: Host) -> None:
        self._settings = settings
        self._host = host

    async def examine(self) -> tuple[Row, ...]:
        """Run all checks; one that breaks becomes a failed row."""
        checks: tuple[tuple[str, Callable[[], Awaitable[list[Row]]]], ...] = (
            ("programs", self._programs),
            ("kernel file systems", self._kernel_file_systems),
            ("privileges", self._privileges),
            ("kernel events", self._events),
            ("disks", self._disks),
            ("kubelet folder", self._kubelet_dir),
            ("state folder", self._state_dir),
            ("node identity", self._identity),
            ("cluster", self._cluster),
        )
        rows: list[Row] = []
        for name, check in checks:
            try:
                rows += await check()
            except CsiError as error:
                rows.append(Row(name, Verdict.FAILED, error.message))
            except (OSError, TimeoutError, ValueError) as error:
                rows.append(Row(name, Verdict.FAILED, f"could not be looked at: {error or type(error).__name__}"))
        return tuple(rows)

    async def _programs(self) -> list[Row]:
        rows = [await self._tools("programs", BASE_TOOLS, Verdict.FAILED, "util-linux")]
        for fs_type in FsType:
            # Only ext4 is the default; a host without the others serves volumes that do not ask for them.
            verdict = Verdict.FAILED if fs_type is FsType.EXT4 else Verdict.WARNING
            package = {FsType.XFS: "xfsprogs", FsType.BTRFS: "btrfs-progs"}.get(fs_type, "e2fsprogs")
            rows.append(await self._tools(f"{fs_type.value} programs", TOOLS[fs_type], verdict, package))
        return rows

    async def _tools(self, check: str, tools: tuple[str, ...], missing_verdict: Verdict, package: str) -> Row:
        missing = [tool for tool in tools if self._host.find_program(tool) is None]
        if missing:
            return Row(check, missing_verdict, f"missing: {', '.join(missing)}", f"install the package {package}")
        return Row(check, Verdict.OK, await self._version(next((t for t in tools if t in _VERSION_FLAGS), tools[0])))

    async def _version(self, tool: str) -> str:
        if tool not in _VERSION_FLAGS:
            return "found"
        deadline = asyncio.get_running_loop().time() + COMMAND_LIMIT_S
        result = await self._host.runner.run((tool, _VERSION_FLAGS[tool]), deadline=deadline)
        lines = (result.stdout or result.stderr).strip().splitlines()
        return lines[0][:80] if lines else "found"

    async def _kernel_file_systems(self) -> list[Row]:
        text = await asyncio.to_thread((self._host.proc_root / "filesystems").read_text)
        known = {line.split()[-1] for line in text.splitlines() if line.strip()}
        major, minor = await asyncio.to_thread(self._host.kernel.release)
        missing = [fs_type.value for fs_type in FsType if fs_type.value not in known]
        if not missing:
            return [Row("kernel file systems", Verdict.OK, f"all, kernel {major}.{minor}")]
        advice = "fine if the kernel loads the module at the first mount; else load it (modprobe)"
        return [Row("kernel file systems", Verdict.WARNING, f"not loaded: {', '.join(missing)}", advice)]

    async def _privileges(self) -> list[Row]:
        status = await asyncio.to_thread((self._host.proc_root / "self/status").read_text)
        words = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
        have = {name for name, bit in _CAPABILITIES.items() if int(words, 16) >> bit & 1}
        rows = [
            Row("CAP_SYS_ADMIN", Verdict.OK, "present")
            if "CAP_SYS_ADMIN" in have
            else Row("CAP_SYS_ADMIN", Verdict.FAILED, "missing", "nothing can be mounted; run the container privileged")
        ]
        if "CAP_SYS_RESOURCE" in have:
            return [*rows, Row("CAP_SYS_RESOURCE", Verdict.OK, "present")]
        advice = "a mounted ext4 grows only at its next stage; give the container the capability"
        return [*rows, Row("CAP_SYS_RESOURCE", Verdict.WARNING, "missing", advice)]

    async def _events(self) -> list[Row]:
        if self._host.hears_events():
            return [Row("kernel events", Verdict.OK, "heard")]
        advice = "disks are found by looking again and again; for events install pyudev and use the host's network"
        return [Row("kernel events", Verdict.WARNING, "not heard", advice)]

    async def _disks(self) -> list[Row]:
        devices = devices_of(self._settings, self._host, SilentObserver())
        disks = await asyncio.to_thread(devices.scan)
        counts = Counter(serial for disk in disks for serial in disk.serials)
        rows = [await asyncio.to_thread(self._disk, disk) for disk in disks if disk.identities]
        rows += [
            Row("disks", Verdict.FAILED, f"serial {serial!r} is carried by {count} disks", "detach the wrong one")
            for serial, count in sorted(counts.items())
            if count > 1
        ]
        return rows or [Row("disks", Verdict.OK, f"{len(disks)} seen, none of them with an identity")]

    def _disk(self, disk: Device) -> Row:
        number = self._host.kernel.node_number(disk.path)
        if number == disk.number:
            return Row(f"disk {disk.name}", Verdict.OK, disk.describe())
        advice = "the host's /dev has to be visible to the plugin (host path /dev)"
        return Row(f"disk {disk.name}", Verdict.FAILED, f"{disk.path} is {number or 'no block device'}", advice)

    async def _kubelet_dir(self) -> list[Row]:
        folder = self._settings.kubelet_dir
        line = await asyncio.to_thread(self._mount_line, folder)
        if line is None:
            return [Row("kubelet folder", Verdict.FAILED, f"{folder} does not exist", "check --kubelet-dir")]
        shared = any(word.startswith("shared:") for word in line[6 : line.index("-")])
        if shared:
            return [Row("kubelet folder", Verdict.OK, f"{folder}, mounts reach the pods (shared)")]
        advice = "pods would not see mounts: mountPropagation Bidirectional for the container, shared on the host"
        return [Row("kubelet folder", Verdict.WARNING, f"{folder} is on a mount that is not shared", advice)]

    async def _state_dir(self) -> list[Row]:
        folder = self._settings.state_folder
        existing = await asyncio.to_thread(_nearest, folder)
        if not await asyncio.to_thread(os.access, existing, os.W_OK | os.X_OK):
            return [Row("state folder", Verdict.FAILED, f"{existing} cannot be written", "check --state-dir")]
        line = await asyncio.to_thread(self._mount_line, existing)
        fs_type = line[line.index("-") + 1] if line else ""
        if fs_type in _MEMORY_FILE_SYSTEMS:
            advice = "records have to outlive the container: put the folder on a host path"
            return [Row("state folder", Verdict.WARNING, f"{folder} is on {fs_type}", advice)]
        return [Row("state folder", Verdict.OK, f"{folder} on {fs_type}")]

    async def _identity(self) -> list[Row]:
        deadline = asyncio.get_running_loop().time() + LIMIT_S
        found = await identities_of(self._settings, self._host.root).resolve(deadline=deadline)
        zone = f"{found.zone} (from {found.zone_source})" if found.zone else "unknown"
        return [
            Row("node identity", Verdict.OK, f"{found.node_id} (from {found.node_id_source})"),
            Row("zone", Verdict.OK, zone, "" if found.zone else "set --zone if the platform has zones"),
        ]

    async def _cluster(self) -> list[Row]:
        api = cluster_of(self._settings)
        if api is None:
            return [Row("cluster", Verdict.OK, "not asked: this is no pod, or --node-name is not given")]
        name, deadline = self._settings.node_name, asyncio.get_running_loop().time() + LIMIT_S
        node = await KubeNodes(api).get(name, deadline=deadline)
        count = await KubeCsiNodes(api).allocatable(name, DRIVER_NAME, deadline=deadline)
        rows = [
            Row("CSINode", Verdict.OK, f"{DRIVER_NAME} with {count} volumes")
            if count is not None
            else Row(
                "CSINode",
                Verdict.WARNING,
                f"{DRIVER_NAME} is not in it with a count",
                "the kubelet has not registered the plugin: see its /readyz, then the kubelet's log",
            )
        ]
        if self._settings.startup_taint and node.has_taint(self._settings.startup_taint):
            seen = f"node {name} still has {self._settings.startup_taint}"
            advice = "the plugin takes it away once CSINode has the count; its role needs `patch` on nodes"
            rows.append(Row("startup taint", Verdict.WARNING, seen, advice))
        return [*rows, await self._attachments(api, deadline)]

    async def _attachments(self, api: KubeApi, deadline: float) -> Row:
        try:
            found = await KubeAttachments(api).of_node(self._settings.node_name, DRIVER_NAME, deadline=deadline)
        except CsiError as error:
            return Row(
                "VolumeAttachments", Verdict.WARNING, error.message, "without it a drain does not wait for volumes"
            )
        return Row("VolumeAttachments", Verdict.OK, f"{len(found)} of this node")

    def _mount_line(self, path: Path) -> list[str] | None:
        """Give the words of the mount table's line for the mount that holds a path."""
        if not path.exists():
            return None
        text = (self._host.proc_root / "self/mountinfo").read_text(errors="surrogateescape")
        lines = [line.split(" ") for line in text.split("\n") if line]
        real = path.resolve()
        holding = [words for words in lines if real.is_relative_to(words[4])]
        return max(holding, key=lambda words: len(words[4]), default=None)


def main(program: str, argv: Sequence[str]) -> int:
    """Run all checks and print them; 0 when nothing failed, 1 when something did, 2 for wrong arguments."""
    words, form = _take_output(list(argv))
    settings = settings_or_exit_code(program, SUMMARY, NodeSettings, words)
    if isinstance(settings, int):
        return settings
    if form not in {"table", "json"}:
        sys.stderr.write(f"{program}: --output is {form!r}; table or json is needed\n")
        return EXIT_USAGE
    configure_logging(level=LogLevel.ERROR)
    rows = asyncio.run(_examine_here(settings))
    sys.stdout.write(render_json(rows) if form == "json" else render_table(rows))
    return EXIT_PROBLEMS if any(row.verdict is Verdict.FAILED for row in rows) else EXIT_OK


async def _examine_here(settings: NodeSettings) -> tuple[Row, ...]:
    async with this_host(SilentObserver()) as host:
        return await Doctor(settings, host).examine()


def render_table(rows: Sequence[Row]) -> str:
    """Give the rows as text for people, each advice on a line of its own below what it is about."""
    width = max(len(row.check) for row in rows)
    lines = []
    for row in rows:
        lines.append(f"{row.verdict.value.upper():<8} {row.check:<{width}}  {row.seen}")
        if row.advice:
            lines.append(f"{'':<8} {'':<{width}}  -> {row.advice}")
    counts = Counter(row.verdict for row in rows)
    lines.append(", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict))
    return "\n".join(lines) + "\n"


def render_json(rows: Sequence[Row]) -> str:
    """Give the rows as one JSON list."""
    return json.dumps([{**asdict(row), "verdict": row.verdict.value} for row in rows], indent=2) + "\n"


def _take_output(words: list[str]) -> tuple[list[str], str]:
    for index, word in enumerate(words):
        if word.startswith("--output="):
            return words[:index] + words[index + 1 :], word.partition("=")[2]
        if word == "--output":
            return words[:index] + words[index + 2 :], words[index + 1] if index + 1 < len(words) else ""
    return words, "table"


def _nearest(path: Path) -> Path:
    """Give the folder itself, or the closest one above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())
