"""How a node leaves: drained, out of etcd, its Node object and its machine gone, and nothing of it remembered."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass

from kaas.bootstrap import commands
from kaas.domain.errors import Code, StepError
from kaas.domain.model import Event, Node
from kaas.domain.ports import Kind, KubeAccess, SshTarget
from kaas.domain.states import NodeState
from kaas.domain.store import NodeUpdate
from kaas.reconcile.step import NOTHING, Result, Work
from kaas.reconcile.steps import outside
from kaas.reconcile.steps.access import kube_access, node_of, ssh_target
from kaas.reconcile.steps.base import BaseStep, Recipe

_SCRIPT = """
if command -v crictl > /dev/null; then
    found=$(crictl ps --state Running --label io.kubernetes.container.name=etcd --quiet | head -n 1)
    enter="crictl exec"
else
    running=$(ctr -n k8s.io tasks list --quiet)
    for one in $(ctr -n k8s.io containers list --quiet 'labels."io.kubernetes.container.name"==etcd'); do
        case " $(echo $running) " in *" $one "*) found=$one ;; esac
    done
    enter="ctr -n k8s.io tasks exec --exec-id kaas-$$"
fi
test -n "${found:-}" || { echo "no container of etcd runs here" >&2; exit 69; }
pki=/etc/kubernetes/pki/etcd
exec $enter "$found" etcdctl --endpoints https://127.0.0.1:2379 --cacert $pki/ca.crt \\
    --cert $pki/server.crt --key $pki/server.key "$@"
"""
ETCDCTL = ("sh", "-c", _SCRIPT, "etcdctl")
"""Runs etcdctl in etcd's own container; its arguments follow. The script is fixed."""
MEMBERS = (*ETCDCTL, "member", "list", "--write-out=json")
_RESET_S = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain(BaseStep):
    """A node is empty, as far as budgets and time allow; what stays on it is told, and does not keep it."""

    node: str
    recipe: Recipe

    async def apply(self, work: Work) -> None:
        """Cordon it and evict its pods for as long as is allowed."""
        node = node_of(work, self.node)
        limit_s = self.recipe.drain_dead_s if node.unhealthy_since is not None else self.recipe.drain_s
        deadline = min(work.deadline, asyncio.get_running_loop().time() + limit_s)
        try:
            access = await kube_access(work)
            left = await work.tools.kube.drain(access, self.node, deadline=deadline)
        except StepError as error:
            if error.code is Code.BUG:
                raise
            left = (error.message,)
        if left:
            message = f"{self.node} leaves though it was not drained within {limit_s:g} s: {'; '.join(left)}"
            event = Event(work.lease.cluster_id, "DRAIN_INCOMPLETE", message, "warning", node_id=node.id)
            await work.tools.store.add_event(work.lease, event)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveEtcd(BaseStep):
    """A control plane is no member of etcd any more, and those who stay are a quorum without it."""

    node: str
    others: tuple[str, ...]
    """Control planes that stay."""

    async def check(self, work: Work) -> Result | None:
        """Look at the list of members, as a quorum of them sees it."""
        return NOTHING if self.node not in await self._members(work) else None

    async def apply(self, work: Work) -> None:
        """Let a quorum of the others remove it, and then stop what runs there without etcd, if it can be reached."""
        await self._assure_quorum(work)
        members = await self._members(work)
        if (member := members.get(self.node)) is not None:
            await self._ask(work, (*ETCDCTL, "member", "remove", f"{member:x}"))
        deadline = min(work.deadline, asyncio.get_running_loop().time() + _RESET_S)
        try:
            target = await ssh_target(work, node_of(work, self.node))
            await work.tools.remote.run(target, commands.RESET, deadline=deadline)
        except StepError as error:
            if error.code is not Code.NODE_UNREACHABLE:
                raise

    async def verify(self, work: Work) -> Result:
        """Look again."""
        if self.node in await self._members(work):
            raise StepError(Code.NOT_READY, f"{self.node} is still a member of etcd")
        return NOTHING

    async def _assure_quorum(self, work: Work) -> None:
        seen = await work.tools.kube.nodes(await kube_access(work), deadline=work.deadline)
        ready = {node.name for node in seen if node.ready}
        members = await self._members(work)
        staying = [name for name in members if name != self.node]
        healthy = [name for name in staying if name in ready]
        if len(healthy) <= len(staying) // 2:
            raise StepError(
                Code.NOT_READY,
                f"{self.node} does not leave etcd: {len(healthy)} of {len(staying)} members that would stay are Ready, "
                "which is no quorum; bring one of them back first",
            )

    async def _members(self, work: Work) -> dict[str, int]:
        """Give the ids of etcd's members by name."""
        output = await self._ask(work, MEMBERS)
        try:
            listed = json.loads(output)["members"]
            return {str(one["name"]): int(one["ID"]) for one in listed if one.get("name")}
        except (ValueError, KeyError, TypeError):
            raise StepError(Code.NODE_UNREACHABLE, "etcd's list of members cannot be read") from None

    async def _ask(self, work: Work, command: Sequence[str]) -> str:
        """Run etcdctl on the first control plane that stays and answers."""
        told: list[str] = []
        for name in self.others:
            try:
                target: SshTarget = await ssh_target(work, node_of(work, name))
                output = await work.tools.remote.run(target, command, deadline=work.deadline)
            except StepError as error:
                if error.code is not Code.NODE_UNREACHABLE:
                    raise
                told.append(error.message)
                continue
            if output.exit_code == 0:
                return output.stdout
            told.append(f"{name}: {output.stderr.strip()[-300:]}")
        raise StepError(Code.NODE_UNREACHABLE, f"etcd can be asked nowhere: {'; '.join(told) or 'nobody stays'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DropNode(BaseStep):
    """The API knows no such node any more."""

    node: str
    recipe: Recipe

    async def apply(self, work: Work) -> None:
        """Delete its Node object."""
        if work.snapshot.cluster.endpoint:
            access = await kube_access(work)
            await work.tools.kube.delete_node(access, self.node, deadline=work.deadline)


@dataclass(frozen=True, slots=True, kw_only=True)
class DropMachine(BaseStep):
    """A node's machine is gone, and with it everything that is written of it."""

    node: str
    recipe: Recipe
    has_api: bool = True
    """Whether the cluster has an API that may know the node."""

    async def apply(self, work: Work) -> None:
        """Ask for its end."""
        await outside.delete_all(work, Kind.MACHINE, name=self.node)

    async def verify(self, work: Work) -> Result:
        """Wait until it is gone. A kubelet that lived until now may have registered itself again."""
        await outside.all_gone(work, Kind.MACHINE, name=self.node, poll_s=self.recipe.poll_s)
        node = node_of(work, self.node)
        if self.has_api and work.snapshot.cluster.endpoint:
            access: KubeAccess = await kube_access(work)
            await work.tools.kube.delete_node(access, self.node, deadline=work.deadline)
        await forget_node(work, node)
        return NOTHING


async def forget_node(work: Work, node: Node) -> None:
    """Write that a node is gone; its row stays, so that its name is never used again."""
    if node.state is not NodeState.GONE:
        await work.tools.store.update_node(work.lease, node.id, NodeUpdate(state=NodeState.GONE))
