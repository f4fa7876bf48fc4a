"""`make e2e-upstream`, `make e2e-upstream-full`: runs the suite on the running cluster and writes what came of it."""

import argparse
import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from csi.driver import DRIVER_NAME
from tests.e2e.cluster import platform
from tests.e2e.cluster import site as sites
from tests.e2e.cluster.assets import Assets, prepare
from tests.e2e.cluster.kubectl import Kubectl
from tests.e2e.cluster.overlays import REPOSITORY
from tests.e2e.cluster.site import Site
from tests.e2e.objects import CLASS
from tests.e2e.outside import outside
from tests.e2e.upstream import driver_file, results
from tests.e2e.upstream.excluded import BALANCERS, KEEPS_NO_CLIENT, Excluded, excluded, has_resource
from tests.e2e.upstream.page import BALANCERS_HEADING, Results, balancer_section, page
from tests.e2e.upstream.results import Outcome, Spec


@dataclass(frozen=True, slots=True)
class Pass:
    """A part of the suite that is run by itself."""

    name: str
    focus: str
    others: tuple[str, ...]
    """Tags of specs that another part runs."""
    processes: int
    limit_s: float
    second_zone: bool = False
    """With the control plane open to pods, the only node of the second zone."""
    immediate: bool = False
    """With a class that binds at once, for specs that change a claim before a pod uses it."""
    is_balancers: bool = False
    """Of load balancers, and so not of a file system: run once, from outside of the cluster's network."""


_TOPOLOGY = r"\] topology should"
_UNUSED_CLAIMS = "(-performance|volume-modify-stress.*should modify volumes with a different volumeAttributesClass)"
PLAIN = Pass("plain", "External.Storage", (r"Slow\]", r"Serial\]", r"Disruptive\]", _TOPOLOGY), 8, 1500)
TOPOLOGY = Pass("topology", rf"External.Storage.*{_TOPOLOGY}", (r"Slow\]", r"Serial\]"), 4, 600, second_zone=True)
IMMEDIATE = Pass("immediate", f"External.Storage.*{_UNUSED_CLAIMS}", (), 1, 900, immediate=True)
SLOW = Pass("slow", r"External.Storage.*Slow\]", (r"Serial\]", r"Disruptive\]", _UNUSED_CLAIMS), 8, 2400)
SERIAL = Pass("serial", r"External.Storage.*Serial\]", (r"Disruptive\]", _UNUSED_CLAIMS), 1, 2400)
DISRUPTIVE = Pass("disruptive", r"External.Storage.*Disruptive\]", (), 1, 2400)
# One at a time: two specs bind the same port of the client.
LOADBALANCERS = Pass(
    "loadbalancers",
    r"sig-network\] (LoadBalancers|Services should serve endpoints on same port.*Type LoadBalancer)",
    (),
    1,
    5400,
    is_balancers=True,
)
STORAGE = {part.name: part for part in (PLAIN, TOPOLOGY, IMMEDIATE, SLOW, SERIAL, DISRUPTIVE)}
PARTS = {**STORAGE, LOADBALANCERS.name: LOADBALANCERS}
FS_TYPES = ("ext4", "xfs")
_AGAIN = "-again"


async def run_pass(site: Site, assets: Assets, part: Pass, fs_type: str, folder: Path) -> Sequence[Spec]:
    """Run one part for one file system ("" for none); gives what came of each spec."""
    folder.mkdir(parents=True, exist_ok=True)
    junit = folder / "junit.xml"
    junit.unlink(missing_ok=True)
    suite: tuple[str, ...] = ()
    if not part.is_balancers:
        definition = folder / "driver.yaml"
        definition.write_text(driver_file.definition(fs_type, immediate=part.immediate))
        suite = (f"-storage.testdriver={definition}",)
    left_away = [one.pattern for one in await _left_away(site, part, fs_type)]
    command = (
        *("timeout", "--signal=INT", "--kill-after=90", str(part.limit_s)),
        *(str(assets.binaries["ginkgo"]), f"--procs={part.processes}", "--no-color", "-v", "--timeout=3h"),
        *(
            "--junit-report=junit.xml",
            f"--output-dir={folder}",
            f"--focus={part.focus}",
            f"--skip={'|'.join((*part.others, *left_away))}",
        ),
        *(str(assets.binaries["e2e.test"]), "--", "--provider=skeleton", f"--kubeconfig={site.kubeconfig}"),
        *(*suite, "--delete-namespace=true", "--num-nodes=-1"),
    )
    environment = {
        **os.environ,
        "HOME": str(folder),
        "KUBE_SSH_USER": "root",
        "KUBE_SSH_KEY_PATH": str(site.ssh_key),
    }
    async with _place(site, part) as before:
        with (folder / "output.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(*before, *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=folder,
            )
            await process.wait()
    specs = results.read(junit.read_text()) if junit.exists() else ()
    if not specs:
        raise SystemExit(f"{folder.name}: the suite ran nothing; {folder / 'output.log'} says why")
    return specs


@contextlib.asynccontextmanager
async def _place(site: Site, part: Pass) -> AsyncIterator[tuple[str, ...]]:
    """Give what runs a program where a part has to be run.

    In the cloud's own namespace the addresses of load balancers are local: nobody comes to them from outside there.
    """
    if not part.is_balancers:
        yield ("nsenter", f"--net={site.namespace}", "--")
        return
    async with outside(site) as client:
        yield client.argv()


async def _left_away(site: Site, part: Pass, fs_type: str) -> Sequence[Excluded]:
    if not part.is_balancers:
        return tuple(excluded(fs_type, has_resource=has_resource()))
    features = (await platform.call(site, "GET", "/capabilities"))["features"]
    return BALANCERS if "lb.transparent" in features else (*BALANCERS, KEEPS_NO_CLIENT)


async def run(options: argparse.Namespace) -> int:
    """Run the parts asked for and say what came of them; gives the exit code."""
    site = sites.load(options.folder)
    assets = await prepare()
    kube = Kubectl(site)
    await kube.apply(
        *driver_file.classes(FS_TYPES),
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttributesClass",
            "metadata": {"name": f"{CLASS}-fast"},
            "driverName": DRIVER_NAME,
            "parameters": {"performanceClass": "fast"},
        },
    )
    for node in site.nodes:
        await platform.run(site, node, "systemctl", "start", "ssh")
    failed = False
    parts = [PARTS[name] for name in options.parts]
    runs = [(part, fs_type) for fs_type in options.fs for part in parts if not part.is_balancers]
    runs += [(part, "") for part in parts if part.is_balancers]
    for part, fs_type in runs:
        started_at = time.perf_counter()
        folder = _folder(site, part, fs_type, again=bool(options.only))
        chosen = replace(part, focus=options.only) if options.only else part
        async with _zones(kube, site, second=part.second_zone):
            specs = await run_pass(site, assets, chosen, fs_type, folder)
        counts = {one: sum(spec.outcome is one for spec in specs) for one in Outcome}
        told = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items())
        _say(f"{folder.name}: {told} in {time.perf_counter() - started_at:.0f} s")
        for spec in specs:
            if spec.outcome is Outcome.FAILED:
                failed = True
                _say(f"  FAILED {spec.name}\n    {spec.reason}")
    if options.page:
        await write_page(site)
    return 1 if failed else 0


@contextlib.asynccontextmanager
async def _zones(kube: Kubectl, site: Site, *, second: bool) -> AsyncIterator[None]:
    taint = "node-role.kubernetes.io/control-plane"
    if second:
        await kube.run("taint", "node", *site.control_planes, f"{taint}-")
    try:
        yield
    finally:
        if second:
            await kube.run("taint", "node", *site.control_planes, f"{taint}=:NoSchedule")


async def write_page(site: Site) -> None:
    """Write docs/conformance.md from the latest results of every part that was run on this cluster.

    What the page says of storage, or of load balancers, stays where this cluster has no result of it.
    """
    target = REPOSITORY / "docs/conformance.md"
    storage, heading, balancers = target.read_text().partition(BALANCERS_HEADING)
    found = {}
    for fs_type in FS_TYPES:
        files = {part.name: _folder(site, part, fs_type) / "junit.xml" for part in STORAGE.values()}
        runs = {name: _read(file) for name, file in files.items() if file.exists()}
        found[fs_type] = Results(
            results.merge(runs.values()), not_run=tuple(name for name in STORAGE if name not in runs)
        )
    if any(one.specs for one in found.values()):
        versions = await Kubectl(site).run("version")
        storage = page(found, versions=versions, has_resource=has_resource())
    outside = _folder(site, LOADBALANCERS, "") / "junit.xml"
    if outside.exists():
        left_away = await _left_away(site, LOADBALANCERS, "")
        heading, balancers = balancer_section(results.merge([_read(outside)]), left_away), ""
    target.write_text(storage + heading + balancers)


def _folder(site: Site, part: Pass, fs_type: str, *, again: bool = False) -> Path:
    name = f"{part.name}-{fs_type}" if fs_type else part.name
    return site.folder / "upstream" / (f"{name}{_AGAIN}" if again else name)


def _read(junit: Path) -> Sequence[Spec]:
    """Give what came of the specs of a part; what was run again with --only counts as it came out then."""
    again = junit.parent.with_name(f"{junit.parent.name}{_AGAIN}") / junit.name
    newer = {spec.name: spec for spec in results.read(again.read_text())} if again.exists() else {}
    return [newer.get(spec.name, spec) for spec in results.read(junit.read_text())]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Parse the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.upstream.run", description=__doc__)
    parser.add_argument("--folder", type=Path, default=sites.default_folder(), help="of the cluster")
    parser.add_argument("--parts", nargs="+", default=["plain"], choices=PARTS, help="default: plain")
    parser.add_argument("--fs", nargs="+", default=["ext4"], choices=FS_TYPES, help="default file systems")
    parser.add_argument("--only", default="", metavar="REGEX", help="only the specs of the parts whose names match")
    parser.add_argument(
        "--page", action="store_true", help="write docs/conformance.md from all results on this cluster"
    )
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
