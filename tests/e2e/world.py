"""A namespace of the cluster as a test sees it: objects, waiting, files in pods, and what may be left at the end."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from csi.driver import DRIVER_NAME
from tests.e2e.cluster import platform
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.kubectl import Kubectl
from tests.e2e.cluster.site import Site
from tests.e2e.objects import MOUNT, Object

LOOK_S = 0.3
LIMIT_S = 120.0
MAKERS = "deployments,statefulsets,pods,persistentvolumeclaims,volumegroupsnapshots,volumesnapshots"
"""Kinds that hold volumes; a group goes before its members."""


@dataclass(slots=True)
class World:
    """One test's namespace."""

    site: Site
    kube: Kubectl
    namespace: str
    handles: set[str] = field(default_factory=set)
    """Platform ids of the volumes that its claims ever had."""

    async def apply(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects; those without a namespace of their own, and that can have one, go to this one."""
        await self.kube.apply(*objects, words=("-n", self.namespace))

    async def get(self, kind: str, name: str) -> Any:
        """Give an object of the namespace."""
        return await self.kube.get(kind, name, "-n", self.namespace)

    async def delete(self, kind: str, *names: str, timeout_s: float = LIMIT_S) -> None:
        """Delete objects and wait until they are gone."""
        await self.kube.run(
            *("delete", kind, *names, "-n", self.namespace, "--ignore-not-found", f"--timeout={timeout_s:g}s"),
            timeout_s=timeout_s + 10,
        )

    async def wait(self, condition: str, *words: str, timeout_s: float = LIMIT_S) -> None:
        """Wait for a condition; a time-out tells the events of the namespace."""
        try:
            await self.kube.wait(condition, *words, "-n", self.namespace, timeout_s=timeout_s)
        except ClusterError as error:
            raise ClusterError(f"{error}\n{await self.story()}") from error

    async def start(self, *pods: Object, timeout_s: float = LIMIT_S) -> None:
        """Apply pods, and whatever comes with them, and wait until the pods are Ready."""
        await self.apply(*pods)
        names = [f"pod/{one['metadata']['name']}" for one in pods if one["kind"] == "Pod"]
        await self.wait("condition=Ready", *names, timeout_s=timeout_s)
        await self.remember()

    async def run(self, pod: str, *argv: str, timeout_s: float = 30.0) -> str:
        """Run a command in a pod and give its output."""
        return await self.kube.run("exec", "-n", self.namespace, pod, "--", *argv, timeout_s=timeout_s)

    async def write(self, pod: str, text: str, *, name: str = "file", root: str = MOUNT) -> None:
        """Write a file durably."""
        script = 'printf %s "$1" > "$2" && sync "$2"'
        await self.run(pod, "sh", "-c", script, "sh", text, f"{root}/{name}")

    async def read(self, pod: str, *, name: str = "file", root: str = MOUNT) -> str:
        """Read a file."""
        return await self.run(pod, "cat", f"{root}/{name}")

    async def size_bytes(self, pod: str, *, root: str = MOUNT) -> int:
        """Give the size of the file system that a pod sees."""
        blocks, size = (await self.run(pod, "stat", "-f", "-c", "%b %S", root)).split()
        return int(blocks) * int(size)

    async def volume_of(self, claim: str) -> Any:
        """Give the PersistentVolume of a bound claim."""
        bound = await self.get("pvc", claim)
        return await self.kube.get("pv", bound["spec"]["volumeName"])

    async def node_of(self, pod: str) -> str:
        """Give the node that a pod is on."""
        return str((await self.get("pod", pod))["spec"].get("nodeName", ""))

    async def pods_of(self, app: str) -> list[Any]:
        """Give the pods of a deployment."""
        return await self.kube.items("pods", "-n", self.namespace, "-l", f"app={app}")

    async def running_on(self, app: str, node: str) -> str:
        """Give the name of a deployment's pod that runs on a node, or ""."""
        for one in await self.pods_of(app):
            going = "deletionTimestamp" in one["metadata"]
            if one["spec"].get("nodeName") == node and one["status"].get("phase") == "Running" and not going:
                return str(one["metadata"]["name"])
        return ""

    def reserve(self, claim: str) -> Mapping[str, str]:
        """Give the claimRef of a PersistentVolume that only this claim may have, not any other that waits."""
        return {"namespace": self.namespace, "name": claim}

    async def events(self, kind: str, name: str) -> list[Any]:
        """Give the events about an object."""
        words = ("-n", self.namespace, f"--field-selector=involvedObject.kind={kind},involvedObject.name={name}")
        return await self.kube.items("events", *words)

    async def event(self, kind: str, name: str, *words: str, timeout_s: float = LIMIT_S) -> str:
        """Wait for an event about an object whose reason or message holds all words; gives its message."""

        async def look() -> str:
            for event in await self.events(kind, name):
                text = f"{event.get('reason', '')}: {event.get('message', '')}"
                if all(word in text for word in words):
                    return text
            return ""

        try:
            what = f"an event about {kind} {name} with {words}"
            return str(await self.until(look, what, timeout_s=timeout_s))
        except ClusterError as error:
            raise ClusterError(f"{error}\n{await self.story()}") from error

    async def until(self, look: Callable[[], Awaitable[Any]], what: str, *, timeout_s: float = LIMIT_S) -> Any:
        """Ask again and again until the answer is true, and give it. Raises ClusterError naming `what`."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (answer := await look()):
                    await asyncio.sleep(LOOK_S)
                return answer
        except TimeoutError:
            raise ClusterError(f"waited {timeout_s:g} s for {what}") from None

    async def remember(self) -> None:
        """Note the platform's ids of this namespace's volumes, to look for them at the end."""
        for volume in await self.kube.items("pv"):
            owner = volume["spec"].get("claimRef", {}).get("namespace")
            source = volume["spec"].get("csi", {})
            if owner == self.namespace and source.get("driver") == DRIVER_NAME:
                self.handles.add(source["volumeHandle"])

    async def story(self) -> str:
        """Tell what happened in the namespace, for an error text."""
        lines = [
            f"{event.get('lastTimestamp') or event.get('eventTime')} {event['involvedObject']['kind']} "
            f"{event['involvedObject']['name']}: {event.get('reason')}: {event.get('message')}"
            for event in await self.kube.items("events", "-n", self.namespace)
        ]
        return "\n".join(lines[-25:])

    async def close(self) -> None:
        """Delete everything and see that nothing of its volumes is left, in Kubernetes or on the platform."""
        await self.remember()
        snapshots = await self._snapshots()
        # A namespace that is deleted with volumes in it is looked at again only after half of a guessed time.
        await self.delete(MAKERS, "--all")
        await self.kube.run("delete", "namespace", self.namespace, "--wait=false")
        await self.gone()
        left = {one["id"] for one in await platform.call(self.site, "GET", "/snapshots") or []} & snapshots
        assert not left, f"snapshots are left on the platform: {left}"

    async def drop(self, volume: str, *, instance: str = "") -> None:
        """Delete a volume of the platform as soon as it is free; first from an instance that it is attached to."""

        async def dropped() -> bool:
            if instance:
                with contextlib.suppress(ClusterError):
                    await platform.call(self.site, "POST", f"/volumes/{volume}/detach", instance_id=instance)
            try:
                await platform.call(self.site, "DELETE", f"/volumes/{volume}")
            except ClusterError:
                return False
            return True

        await self.until(dropped, f"volume {volume} to go")

    async def gone(self) -> None:
        """Wait until the namespace's volumes are deleted, in Kubernetes and on the platform."""
        await self.until(self._no_volumes, f"the volumes of {self.namespace} to be deleted")

    async def _snapshots(self) -> set[str]:
        contents = await self.kube.items("volumesnapshotcontents")
        return {
            str(one.get("status", {}).get("snapshotHandle", ""))
            for one in contents
            if one["spec"].get("volumeSnapshotRef", {}).get("namespace") == self.namespace
            and one["spec"].get("deletionPolicy") == "Delete"
        }

    async def _no_volumes(self) -> bool:
        mine = [
            one
            for one in await self.kube.items("pv")
            if one["spec"].get("claimRef", {}).get("namespace") == self.namespace
        ]
        volumes = {one["id"]: one for one in await platform.call(self.site, "GET", "/volumes") or []}
        return not mine and not (self.handles & volumes.keys())


@contextlib.asynccontextmanager
async def opened(site: Site, namespace: str) -> AsyncIterator[World]:
    """Make a namespace; at the end it goes, and nothing of its volumes may be left."""
    made = World(site, Kubectl(site), namespace)
    await made.kube.run("create", "namespace", namespace)
    try:
        yield made
    finally:
        await made.close()


async def attached_disks(site: Site, node: str) -> set[str]:
    """Give the devcloud disks whose device node is in a machine."""
    script = (
        'for f in /sys/block/loop*/loop/backing_file; do n=${f#/sys/block/}; echo "/dev/${n%%/*} $(cat "$f")"; done'
    )
    lines = (await platform.run(site, node, "sh", "-c", script)).splitlines()
    disks = str(site.cloud_dir / "disks")
    found = {line.split(" ", 1)[0] for line in lines if line.split(" ", 1)[1].startswith(disks)}
    present = (await platform.run(site, node, "sh", "-c", "ls /dev/loop* 2>/dev/null || true")).split()
    return found & set(present)


async def csi_mounts(site: Site, node: str) -> list[str]:
    """Give the mounts of this driver's volumes in a machine."""
    table = (await platform.run(site, node, "cat", "/proc/self/mountinfo")).splitlines()
    return [line for line in table if "kubernetes.io~csi/pvc-" in line or f"kubernetes.io/csi/{DRIVER_NAME}/" in line]
