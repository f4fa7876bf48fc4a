"""The embedded platform under a cluster: started apart from its starter, asked over HTTP, ended by its process id."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import httpx

from devcloud import commands
from devcloud.nspawn import enter
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.site import Site

NETWORK = IPv4Network("10.77.0.0/24")
POD_NETWORK = IPv4Network("192.168.0.0/16")
IMAGE = "kubernetes"
ZONES = ("zone-1", "zone-2")
INSTANCE_TYPE = "standard-4"
REGION = "region-1"
KEY = "cluster"
"""Name of the SSH key that every machine is launched with."""
_START_S = 30.0
_CALL_S = 60.0
_BOOT_S = 90.0
_LOOK_S = 0.1
_PLENTY = "1000"


def start(folder: Path, machine_image: Path, *, max_volumes: int) -> int:
    """Start devcloud on the folder, in a session of its own: it goes on when this process ends. Gives its id."""
    logs = folder / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    argv = (
        *(sys.executable, "-m", "devcloud.app", "serve", "--backend", "nspawn", "--listen", "127.0.0.1:0"),
        *("--data-dir", str(folder / "cloud"), "--machine-image", f"{IMAGE}={machine_image}"),
        *("--network", str(NETWORK), "--pod-network", str(POD_NETWORK), "--no-fsync", "--rate-limit", "0"),
        *("--max-volumes", str(max_volumes), "--region", REGION),
        *(word for zone in ZONES for word in ("--zone", zone)),
        *("--quota-instances", _PLENTY, "--quota-vcpus", _PLENTY, "--quota-memory-gb", _PLENTY),
    )
    return _start(argv, logs / "devcloud.log")


def _start(argv: Sequence[str], log: Path) -> int:
    with Path(os.devnull).open("rb") as nothing:
        return commands.spawn_detached(argv, stdin=nothing.fileno(), output=log, environment=os.environ)


async def addresses(folder: Path, pid: int) -> tuple[str, str]:
    """Wait until a started platform serves, and give its addresses for this host and for the machines."""
    log = folder / "logs/devcloud.log"
    async with asyncio.timeout(_START_S):
        while True:
            ended = _has_ended(pid)
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            served = [line for line in lines if line.startswith("devcloud (")]
            if served:
                outer = served[-1].rpartition(" on ")[2].split()[0].rstrip(",;")
                return outer, f"http://{NETWORK[1]}:{httpx.URL(outer).port}"
            if ended:
                raise ClusterError("the platform ended:\n" + "\n".join(lines[-20:]))
            await asyncio.sleep(_LOOK_S)


async def call(site: Site, method: str, path: str, /, **body: Any) -> Any:
    """Ask the platform as its user; gives `data` of the answer. Raises ClusterError for an error status."""
    headers = {"X-API-Key": site.api_key()}
    async with httpx.AsyncClient(base_url=site.devcloud_url, headers=headers, timeout=_CALL_S) as client:
        answer = await client.request(method, path, json=body or None)
    if answer.is_error:
        raise ClusterError(f"{method} {path}: the platform answered {answer.status_code}: {answer.text[:400]}")
    return json.loads(answer.text).get("data") if answer.text else None


async def register_key(site: Site) -> str:
    """Make an SSH key for the machines and give the platform's id of it."""
    await commands.check(
        ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", KEY, "-f", str(site.ssh_key)), timeout_s=_CALL_S
    )
    public = site.ssh_key.with_suffix(".pub").read_text().strip()
    return str((await call(site, "POST", "/ssh-keys", name=KEY, public_key=public))["id"])


async def launch(site: Site, name: str, *, zone: str, ssh_key_id: str) -> None:
    """Launch an instance and wait until its machine is up. Raises ClusterError."""
    wanted = {"name": name, "hostname": name, "image": IMAGE, "zone": zone, "instance_type": INSTANCE_TYPE}
    made = await call(site, "POST", "/instances", **wanted, ssh_key_id=ssh_key_id)
    async with asyncio.timeout(_BOOT_S):
        while True:
            seen = await call(site, "GET", f"/instances/{made['id']}")
            if seen["status"] == "RUNNING":
                return
            if seen["status"] != "STARTING":
                raise ClusterError(f"instance {name} is {seen['status']}; look at {site.logs / 'devcloud.log'}")
            await asyncio.sleep(_LOOK_S)


async def run(site: Site, machine: str, *argv: str, stdin: str | bytes = "", timeout_s: float = 60.0) -> str:
    """Run a command as root of a machine and give its output. Raises ClusterError with the end of what it said."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = await enter.run(site.cloud_dir, machine, argv, timeout_s=timeout_s, stdin=data or None)
    if done.exit_code != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise ClusterError(f"{machine}: {' '.join(argv)[:200]} ended with {done.exit_code}:\n" + "\n".join(said[-20:]))
    return done.output


async def device_of(site: Site, machine: str, serial: str) -> str:
    """Give the path that a volume's disk has in the machine that it is attached to."""
    script = 'grep -l -F -- "$1.img" /sys/block/loop*/loop/backing_file'
    file = Path((await run(site, machine, "sh", "-c", script, "sh", serial)).strip())
    return f"/dev/{file.parents[1].name}"


async def write(site: Site, machine: str, path: str, text: str, *, mode: str = "600") -> None:
    """Put a file into a machine."""
    await run(site, machine, "install", "-D", "-m", mode, "/dev/stdin", path, stdin=text)


async def instance_data(site: Site, machine: str) -> Mapping[str, Any]:
    """Give what the platform tells a machine about itself."""
    return dict(json.loads(await run(site, machine, "cat", "/run/cloud-init/instance-data.json"))["devcloud"])


async def take_down(folder: Path, pid: int | None) -> None:
    """End the platform and remove everything that it made on this host. Raises ClusterError when something stays."""
    if pid is not None and _is_platform(pid, folder):
        os.kill(pid, signal.SIGTERM)
        async with asyncio.timeout(_START_S):
            while _is_platform(pid, folder):
                await asyncio.sleep(_LOOK_S)
    if not (folder / "cloud").exists():
        return
    argv = (sys.executable, "-m", "devcloud.app", "reset", "--data-dir", str(folder / "cloud"))
    done = await commands.run(argv, timeout_s=_BOOT_S, environment=os.environ)
    if done.exit_code != 0:
        raise ClusterError(f"devcloud reset ended with {done.exit_code}: {done.stderr.decode(errors='replace')}")


def _has_ended(pid: int) -> bool:
    """Tell whether a process that was just started is no more; its command line is empty for a moment at its start."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in {"Z", "X"}


def _is_platform(pid: int, folder: Path) -> bool:
    # The number alone may be another process by now.
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"devcloud.app" in words and str(folder / "cloud").encode() in words
    return False


@contextlib.asynccontextmanager
async def faulty(site: Site, kind: str, *, method: str = "*", route: str = "*") -> AsyncIterator[None]:
    """Let every call of a route end with a fault of this kind (`devcloud.faults.Kind`); all faults go in the end."""
    await call(site, "POST", "/_devcloud/faults", kind=kind, method=method, route=route, count=0)
    try:
        yield
    finally:
        await call(site, "DELETE", "/_devcloud/faults")


@contextlib.asynccontextmanager
async def away(site: Site) -> AsyncIterator[None]:
    """Kill the platform for a while, as a power cut of its own machine would; the instances run on meanwhile."""
    pid = int((site.folder / "devcloud.pid").read_text())
    argv = [word.decode() for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") if word]
    os.kill(pid, signal.SIGKILL)
    try:
        yield
    finally:
        # At the same port: the machines were told that one.
        argv[argv.index("--listen") + 1] = f"127.0.0.1:{httpx.URL(site.devcloud_url).port}"
        pid = _start(argv, site.logs / "devcloud.log")
        (site.folder / "devcloud.pid").write_text(str(pid))
        await _answers(site)


async def _answers(site: Site) -> None:
    async with asyncio.timeout(_START_S):
        while True:
            with contextlib.suppress(httpx.HTTPError):
                await call(site, "GET", "/instances")
                return
            await asyncio.sleep(_LOOK_S)
