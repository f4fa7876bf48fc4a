"""From nothing to a cluster whose nodes are all Ready: platform, machines, kubeadm, in parallel where nothing waits."""

import asyncio
import contextlib
import re
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.e2e.cluster import kubeadm, platform, pods
from tests.e2e.cluster.assets import Assets
from tests.e2e.cluster.binaries import KUBERNETES_VERSION
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.images import COREDNS_TAG, ETCD_TAG
from tests.e2e.cluster.kubectl import Kubectl
from tests.e2e.cluster.site import Site

CONTROL_PLANE = "cp-1"
_NODE_MEMORY_MIB = 6144
_KUBEADM_S = 240.0
_READY_S = 120.0
_SOCKET_LOOKS = 150
_CA_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
_TOKEN_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a cluster is to be."""

    workers: int = 2
    max_volumes: int = 20
    """Places for volumes that each instance has; 20 is the node plugin's default."""

    @property
    def worker_names(self) -> tuple[str, ...]:
        """Names of the workers."""
        return tuple(f"worker-{number}" for number in range(1, self.workers + 1))


async def up(folder: Path, assets: Assets, shape: Shape, *, say: Say) -> Site:
    """Make a cluster in the folder and wait until every node is Ready. Raises ClusterError, TimeoutError.

    What a failure leaves is there to be looked at until `down`.
    """
    started_at = time.perf_counter()

    def step(text: str) -> None:
        say(f"{time.perf_counter() - started_at:6.1f} s  {text}")

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ClusterError(f"{folder} is not empty; `make cluster-down` removes the cluster that is there")
    site = await _platform(folder, assets, shape)
    step(f"the platform serves on {site.devcloud_url}")
    names = (CONTROL_PLANE, *shape.worker_names)
    key = await platform.register_key(site)
    async with asyncio.TaskGroup() as group:
        for name in names:
            # Workers share a zone, so that volumes can move between them; the control plane is the other zone's node.
            zone = platform.ZONES[1] if name == CONTROL_PLANE else platform.ZONES[0]
            group.create_task(_machine(site, name, zone=zone, ssh_key_id=key))
    site = replace(site, control_planes=(CONTROL_PLANE,), workers=shape.worker_names)
    site.save()
    step(f"{len(names)} machines are up")
    members = {name: await _member(site, name) for name in names}
    plan = _plan(members[CONTROL_PLANE].address)
    ca_hash = await _init(site, plan, members[CONTROL_PLANE])
    step("the control plane answers")
    async with asyncio.TaskGroup() as group:
        for name in shape.worker_names:
            group.create_task(_join(site, plan, members[name], ca_hash))
    step("all nodes have joined")
    await Kubectl(site).wait("condition=Ready", *(f"node/{name}" for name in names), timeout_s=_READY_S)
    step("all nodes are Ready")
    return site


async def join(site: Site, name: str, *, zone: str) -> None:
    """Launch one more machine and let it join as a worker; it is Ready then. Raises ClusterError, TimeoutError.

    Whoever asked for it takes it away again: `Site` does not know it. It has the images of Kubernetes, none of ours.
    """
    keys = await platform.call(site, "GET", "/ssh-keys")
    await _machine(site, name, zone=zone, ssh_key_id=next(one["id"] for one in keys if one["name"] == platform.KEY))
    control_plane = site.control_planes[0]
    # It asks the API server alone; the output is a command line with a new token and the digest of the CA.
    words = ("kubeadm", "token", "create", "--ttl", "15m", "--print-join-command")
    said = await platform.run(site, control_plane, *words, timeout_s=_KUBEADM_S)
    token, ca_hash = _TOKEN.search(said), _CA_HASH.search(said)
    if token is None or ca_hash is None:
        raise ClusterError(f"kubeadm on {control_plane} did not tell how to join")
    plan = replace(_plan((await _member(site, control_plane)).address), token=token[0])
    await _join(site, plan, await _member(site, name), ca_hash[0])
    await Kubectl(site).wait("condition=Ready", f"node/{name}", timeout_s=_READY_S)


async def down(folder: Path, *, say: Say) -> None:
    """Remove the cluster of a folder, whatever state it is in; none is fine. Raises ClusterError."""
    pid_file = folder / "devcloud.pid"
    pid = int(pid_file.read_text()) if pid_file.exists() else None
    await platform.take_down(folder, pid)
    if folder.exists():
        await asyncio.to_thread(shutil.rmtree, folder)
    say(f"nothing is left of the cluster in {folder}")


async def _platform(folder: Path, assets: Assets, shape: Shape) -> Site:
    pid = platform.start(folder, assets.machine_image, max_volumes=shape.max_volumes)
    (folder / "devcloud.pid").write_text(str(pid))
    outer, inner = await platform.addresses(folder, pid)
    site = Site(
        folder=folder,
        devcloud_url=outer,
        inner_url=inner,
        kubectl=assets.binaries["kubectl"],
        max_volumes=shape.max_volumes,
    )
    site.save()
    return site


async def _machine(site: Site, name: str, *, zone: str, ssh_key_id: str) -> None:
    """Launch a machine, give its pods a network, and wait until containers can run."""
    await platform.launch(site, name, zone=zone, ssh_key_id=ssh_key_id)
    data = await platform.instance_data(site, name)
    await platform.write(site, name, pods.CONFLIST, pods.conflist(data["pod_range"]), mode="644")
    for _ in range(_SOCKET_LOOKS):
        with contextlib.suppress(ClusterError):
            await platform.run(site, name, "test", "-S", kubeadm.CRI_SOCKET.removeprefix("unix://"))
            return
        await asyncio.sleep(0.1)
    raise ClusterError(f"{name}: containerd does not start; look at `journalctl -u containerd` in the machine")


async def _member(site: Site, name: str) -> kubeadm.Member:
    data = await platform.instance_data(site, name)
    return kubeadm.Member(name=name, address=data["private_ip"])


def _plan(endpoint: str) -> kubeadm.Plan:
    host_mib = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    characters = [secrets.choice(_TOKEN_CHARACTERS) for _ in range(22)]
    return kubeadm.Plan(
        kubernetes_version=KUBERNETES_VERSION,
        dns_tag=COREDNS_TAG,
        etcd_tag=ETCD_TAG,
        endpoint=endpoint,
        token=f"{''.join(characters[:6])}.{''.join(characters[6:])}",
        reserved_memory=f"{max(host_mib - _NODE_MEMORY_MIB, 0)}Mi",
    )


async def _init(site: Site, plan: kubeadm.Plan, member: kubeadm.Member) -> str:
    """Make the control plane, keep its kubeconfig, and give the digest of its CA for those who join."""
    output = await _kubeadm(site, member.name, "init", kubeadm.init_config(plan, member))
    config = await platform.run(site, member.name, "cat", "/etc/kubernetes/admin.conf")
    site.kubeconfig.touch(mode=0o600)
    site.kubeconfig.write_text(config)
    found = _CA_HASH.search(output)
    if found is None:
        raise ClusterError(f"kubeadm init did not tell how to join; look at {site.logs}")
    return found[0]


async def _join(site: Site, plan: kubeadm.Plan, member: kubeadm.Member, ca_hash: str) -> None:
    await _kubeadm(site, member.name, "join", kubeadm.join_config(plan, member, ca_hash=ca_hash))


async def _kubeadm(site: Site, machine: str, verb: str, config: str) -> str:
    path = f"/root/kubeadm-{verb}.yaml"
    await platform.write(site, machine, path, config)
    try:
        output = await platform.run(site, machine, "kubeadm", verb, "--config", path, timeout_s=_KUBEADM_S)
    finally:
        await platform.run(site, machine, "rm", "-f", path)
    (site.logs / f"kubeadm-{machine}.log").write_text(output)
    return output
