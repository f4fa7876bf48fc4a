"""What a person does with the service and a cluster of it, and how long they wait for what."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devcloud import commands
from tests.e2e.cluster import platform
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.kubectl import Kubectl
from tests.e2e_kaas import seed
from tests.e2e_kaas.place import Place

LIMIT_S = 300.0
CURL = (
    "curl",
    "--silent",
    "--fail",
    "--noproxy",
    "*",
    "--max-time",
    "5",
    "--retry",
    "15",
    "--retry-all-errors",
    "--retry-delay",
    "1",
)
"""A node's proxy may learn of a service a moment later than its pods are ready."""
_LOOK_S = 0.5
_ASK_S = 120.0
_LEAVING = ("instances", "lb", "volumes", "ssh-keys", "security-groups", "elastic-ips")
"""What the platform lists that clusters are made of."""


@dataclass(slots=True)
class Cluster:
    """A cluster by its name, with its administrator's kubectl."""

    place: Place
    name: str

    @property
    def kubeconfig(self) -> Path:
        """Where its administrator's kubeconfig is kept."""
        return self.place.folder / f"{self.name}.kubeconfig"

    @property
    def kube(self) -> Kubectl:
        """Ask its API; a kubeconfig comes first."""
        return Kubectl(self.place.site, kubeconfig=self.kubeconfig)

    async def take_kubeconfig(self) -> None:
        """Get an administrator's kubeconfig and keep it. Raises ClusterError."""
        text = await asked(self.place, "kubeconfig", self.name)
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(text)

    async def status(self) -> str:
        """Give the status in the table of `cloud k8s list`; empty when it is not there."""
        for line in (await asked(self.place, "list")).splitlines():
            words = line.split()
            if self.name in words[1:2]:
                return words[2]
        return ""

    async def nodes(self) -> dict[str, str]:
        """Give the nodes that the API knows, with `True` for those that are Ready."""
        return {
            node["metadata"]["name"]: next(
                one["status"] for one in node["status"]["conditions"] if one["type"] == "Ready"
            )
            for node in await self.kube.items("nodes")
        }

    async def addresses(self) -> list[str]:
        """Give the address of every node."""
        return [
            address["address"]
            for node in await self.kube.items("nodes")
            for address in node["status"]["addresses"]
            if address["type"] == "InternalIP"
        ]

    async def comes_up(self) -> None:
        """Wait until `cloud k8s list` says RUNNING; nothing but PROVISIONING comes before."""

        async def look() -> bool:
            status = await self.status()
            if status not in {"PROVISIONING", "RUNNING"}:
                raise ClusterError(f"{self.name} is {status or 'not listed'} on its way")
            return status == "RUNNING"

        await until(look, f"{self.name} to be RUNNING")

    async def settled(self, *names: str) -> None:
        """Wait until it is RUNNING with exactly these nodes, all Ready."""

        async def look() -> bool:
            with contextlib.suppress(ClusterError):
                return await self.status() == "RUNNING" and await self.nodes() == dict.fromkeys(names, "True")
            return False

        await until(look, f"{self.name} to be RUNNING with {', '.join(names)}")

    async def use(self, text: str) -> None:
        """Make the seed's claim and service with a pod behind them, and write a file into the volume."""
        await self.kube.apply(seed.claim(), seed.service(), seed.deployment())
        await self.kube.run("rollout", "status", f"deployment/{seed.APP}", f"--timeout={LIMIT_S:g}s", timeout_s=LIMIT_S)
        script = 'printf %s "$1" > "$2" && sync "$2"'
        words = ("sh", "-c", script, "sh", text, f"{seed.FOLDER}/index.html")
        await self.kube.run("exec", f"deployment/{seed.APP}", "--", *words)

    async def read(self, address: str) -> str:
        """Ask a node at the service's port as a client outside of the cluster; empty for no good answer."""
        argv = ("nsenter", f"--net={self.place.site.namespace}", "--", *CURL)
        done = await commands.run((*argv, f"http://{address}:{seed.NODE_PORT}/index.html"), timeout_s=_ASK_S)
        return done.output if done.exit_code == 0 else ""

    async def destroy_machine(self, node: str) -> None:
        """Take a node's machine away on the platform, behind the service's back."""
        machines = await self.place.listed("instances")
        ref = next(one["id"] for one in machines if one["name"] == node)
        await platform.call(self.place.site, "DELETE", f"/instances/{ref}")


async def asked(place: Place, *words: str, timeout_s: float = 60.0) -> str:
    """Run `cloud k8s` and give its output. Raises ClusterError with what it complains of."""
    done = await place.cloud(*words, timeout_s=timeout_s)
    if done.exit_code != 0:
        raise ClusterError(
            f"cloud k8s {' '.join(words)} ended with {done.exit_code}:\n{done.stderr.decode(errors='replace')[-3000:]}"
        )
    return done.output


async def told(place: Place, *words: str) -> Any:
    """Run `cloud k8s … -o json` and give what it says."""
    return json.loads(await asked(place, *words, "-o", "json"))


@contextlib.asynccontextmanager
async def a_cluster(place: Place, name: str, *words: str) -> AsyncIterator[Cluster]:
    """Create a cluster and delete it in the end, however that comes."""
    cluster = Cluster(place, name)
    try:
        await asked(place, "create", "--name", name, *words, "--wait", timeout_s=2 * LIMIT_S)
        await cluster.take_kubeconfig()
        yield cluster
    finally:
        await place.cloud("rm", name, "--yes", "--volumes", "--wait", timeout_s=LIMIT_S)


async def things_left(place: Place) -> list[str]:
    """Give what is on the platform that its tenant did not have from the start."""
    left = []
    for kind in _LEAVING:
        left += [f"{kind} {one.get('name') or one['id']}" for one in await place.listed(kind)]
    keys = await platform.call(place.site, "GET", "/auth/keys")
    return left + [f"key {one['name']}" for one in keys[1:]]


async def until(look: Callable[[], Awaitable[bool]], what: str, *, limit_s: float = LIMIT_S) -> None:
    """Look until it is so. Raises ClusterError."""
    try:
        async with asyncio.timeout(limit_s):
            while not await look():
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise ClusterError(f"waited for {what} for {limit_s:g} s") from None
