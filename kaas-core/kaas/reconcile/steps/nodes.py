"""From booted machines to nodes: the first control plane, those who join, and an API server that is down."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass

from kaas.bootstrap import commands
from kaas.bootstrap.commands import Facts, Next, facts_of, next_for
from kaas.bootstrap.kubeadm import init_config, join_config
from kaas.bootstrap.tails import tail
from kaas.bootstrap.tokens import new_join_token
from kaas.domain.errors import Code, OtherHostError, StepError
from kaas.domain.model import Cni, Event, Node, Role
from kaas.domain.ports import KubeAccess, Output, RemoteFile, SshTarget
from kaas.domain.states import NodeState
from kaas.domain.store import NodeUpdate
from kaas.kube.addons.cni import BRIDGE_CONFLIST, bridge_conflist
from kaas.reconcile.step import NOTHING, Result, Work
from kaas.reconcile.steps.access import cluster_config, kube_access, node_config, node_of, pki_of, ssh_target
from kaas.reconcile.steps.base import BaseStep, Recipe, pause, whole
from kaas.reconcile.steps.machine import Place, at_hand, remake

INSTANCE_DATA = ("cat", "/run/cloud-init/instance-data.json")
"""Where a machine tells which pod range the platform's network routes to it."""
RESTART = ("systemctl", "restart", "containerd", "kubelet")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Become(BaseStep):
    """What becoming a node has in common, first or not."""

    node: str
    recipe: Recipe
    place: Place
    machine: str
    """Key of the step that made the machine."""

    async def _reach(self, work: Work) -> tuple[Node, SshTarget, Facts]:
        """Log in and look around. A machine that has died is made anew, and is a node once it has booted."""
        node = await at_hand(work, self.node, self.recipe, self.place, step=self.machine)
        target = await ssh_target(work, node)
        try:
            said = await work.tools.remote.run(target, commands.LOOK, deadline=work.deadline)
        except OtherHostError as error:
            await self._replace_other(work, node, error)
            raise
        return node, target, facts_of(said, node=self.node)

    async def _replace_other(self, work: Work, node: Node, error: OtherHostError) -> None:
        """Make a machine anew, once, that is not the one which reported: of two, the other one was kept.

        Two come from a launch that was carried out after it was made again. Nothing was ever sent to this one.
        """
        if node.state is NodeState.JOINING and node.instance_id == work.results[self.machine].get("id"):
            await whole(remake(work, self.node, self.recipe, self.place, step=self.machine))
            raise StepError(Code.NOT_READY, f"{error.message}; its machine was made anew") from error

    async def _run(
        self, work: Work, target: SshTarget, files: Mapping[str, RemoteFile], command: tuple[str, ...]
    ) -> None:
        """Put the files and run kubeadm; its configuration, which holds a token, is gone either way."""
        remote = work.tools.remote
        extra = await self._pod_network(work, target)
        await remote.put(target, {**files, **extra}, deadline=work.deadline)
        output = await remote.run(target, command, deadline=work.deadline)
        await remote.run(target, commands.DROP_CONFIG, deadline=work.deadline)
        if output.exit_code == commands.BUSY:
            raise _busy(self.node)
        if output.exit_code != 0:
            log = await remote.run(target, commands.KUBELET_LOG, deadline=work.deadline)
            raise StepError(
                Code.BOOTSTRAP_FAILED,
                f"{self.node}: kubeadm ended with exit code {output.exit_code}: {_reason(output)}",
                log_tail=tail(f"{output.stdout}\n{output.stderr}\n{log.stdout}"),
            )

    async def _reset(self, work: Work, target: SshTarget) -> None:
        output = await work.tools.remote.run(target, commands.RESET, deadline=work.deadline)
        if output.exit_code == commands.BUSY:
            raise _busy(self.node)
        if output.exit_code != 0:
            raise StepError(
                Code.BOOTSTRAP_FAILED,
                f"{self.node}: a half-done kubeadm run could not be undone: {_reason(output)}",
                log_tail=tail(f"{output.stdout}\n{output.stderr}"),
            )

    async def _pod_network(self, work: Work, target: SshTarget) -> Mapping[str, RemoteFile]:
        """Give the node's own file of a network of bridges."""
        if work.snapshot.cluster.spec.cni is not Cni.BRIDGE:
            return {}
        output = await work.tools.remote.run(target, INSTANCE_DATA, deadline=work.deadline)
        try:
            told = json.loads(output.stdout)
            pod_range = str(told["devcloud"]["pod_range"])
        except (ValueError, KeyError, TypeError):
            raise StepError(
                Code.NOT_OFFERED,
                f"{self.node}: the platform routes no pod range to it, which the network `bridge` needs; "
                "make the cluster with another --cni",
            ) from None
        return {BRIDGE_CONFLIST: bridge_conflist(pod_range)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Init(_Become):
    """The first control plane runs, and the API answers through the endpoint with our authority."""

    async def check(self, work: Work) -> Result | None:
        """Ask the API, and the machine whether kubeadm came to its end there."""
        if not await work.tools.kube.is_ready(await kube_access(work), deadline=_soon(work)):
            return None
        _, _, facts = await self._reach(work)
        if facts.busy or not facts.done:
            return None
        return await self._done(work)

    async def apply(self, work: Work) -> None:
        """Run `kubeadm init`, after a reset where it began and did not end."""
        node, target, facts = await self._reach(work)
        runs = bool(work.snapshot.cluster.version)
        match next_for(facts, Role.CONTROL_PLANE, cluster_runs=runs, node_known=False):
            case Next.DONE:
                return
            case Next.WAIT:
                raise _busy(self.node)
            case Next.REPLACE:
                raise StepError(
                    Code.BOOTSTRAP_FAILED,
                    f"{self.node} holds the data of a cluster that ran before, and is not made anew over it; "
                    "delete the cluster, or bring its machine back",
                )
            case Next.RESET_THEN_RUN:
                await self._reset(work, target)
            case Next.RUN:
                pass
        config = init_config(
            cluster_config(work, self.recipe),
            node_config(work, node),
            join_token=new_join_token(),
        )
        await self._run(work, target, commands.init_files(await pki_of(work), config), commands.INIT)

    async def verify(self, work: Work) -> Result:
        """Wait for the API behind the endpoint."""
        while why := await work.tools.kube.readiness(await kube_access(work), deadline=_soon(work)):
            if not await pause(work, self.recipe.poll_s):
                raise StepError(
                    Code.API_SERVER_DOWN,
                    f"{self.node}: kubeadm has ended, and the API is not ready ({why}); see whether the load "
                    "balancer and the security group let port 6443 through",
                )
        return await self._done(work)

    async def _done(self, work: Work) -> Result:
        version = work.snapshot.cluster.spec.version
        if work.snapshot.cluster.version != version:
            await work.tools.store.update_cluster(work.lease, version=version)
        return {"version": version}


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(_Become):
    """A machine is a node of the cluster."""

    async def check(self, work: Work) -> Result | None:
        """Look whether the API knows the node, and whether kubeadm came to its end on its machine."""
        access = await kube_access(work)
        if not await _knows(work, access, self.node):
            return None
        node, _, facts = await self._reach(work)
        is_done = next_for(facts, node.role, cluster_runs=True, node_known=True) is Next.DONE
        return NOTHING if is_done else None

    async def apply(self, work: Work) -> None:
        """Run `kubeadm join` with a token of this node alone."""
        access = await kube_access(work)
        node, target, facts = await self._reach(work)
        known = await _knows(work, access, self.node)
        following = next_for(facts, node.role, cluster_runs=True, node_known=known)
        if following is Next.DONE:
            return
        if following is Next.WAIT:
            raise _busy(self.node)
        if following is not Next.RUN:
            # Undone where it stands, because an etcd member that only disappears still counts for the quorum.
            await self._reset(work, target)
        if known:
            # A Node of this name is of a machine that was here before, or of a half-done join.
            await work.tools.kube.delete_node(access, self.node, deadline=work.deadline)
        await self._join(work, access, target, node)

    async def verify(self, work: Work) -> Result:
        """Wait for the node's registration; that it is Ready is a later step, since others have to do with it."""
        access = await kube_access(work)
        while not await _knows(work, access, self.node):
            if not await pause(work, self.recipe.poll_s):
                raise StepError(Code.NOT_READY, f"{self.node}: kubeadm has ended, and the API knows no such node yet")
        return NOTHING

    async def _join(self, work: Work, access: KubeAccess, target: SshTarget, node: Node) -> None:
        pki = await pki_of(work)
        token = new_join_token()
        await work.tools.kube.create_bootstrap_token(
            access, token, ttl_s=self.recipe.join_token_ttl_s, deadline=work.deadline
        )
        config = join_config(
            cluster_config(work, self.recipe),
            node_config(work, node),
            join_token=token,
            ca_cert_hash=pki.ca_cert_hash,
        )
        files = commands.join_files(config, pki=pki if node.role is Role.CONTROL_PLANE else None)
        await self._run(work, target, files, commands.JOIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(BaseStep):
    """The API answers; where it does not, the services of control planes are started again."""

    planes: tuple[str, ...]
    recipe: Recipe

    async def check(self, work: Work) -> Result | None:
        """Ask the API, for as long as it may be away for reasons of its own."""
        clock = asyncio.get_running_loop().time
        until = clock() + self.recipe.api_patience_s
        while not await work.tools.kube.is_ready(await kube_access(work), deadline=_soon(work)):
            if clock() >= until or not await pause(work, self.recipe.poll_s):
                return None
        return NOTHING

    async def apply(self, work: Work) -> None:
        """Start what can be reached; a single one may be enough."""
        told: list[str] = []
        for name in self.planes:
            try:
                target = await ssh_target(work, node_of(work, name))
                output = await work.tools.remote.run(target, RESTART, deadline=_soon(work))
                told.append(f"{name}: {'started again' if output.exit_code == 0 else _reason(output)}")
            except StepError as error:
                told.append(f"{name}: {error.message}")
        event = Event(work.lease.cluster_id, "SERVICES_RESTARTED", "; ".join(told), "warning")
        await work.tools.store.add_event(work.lease, event)

    async def verify(self, work: Work) -> Result:
        """Wait for the API."""
        while why := await work.tools.kube.readiness(await kube_access(work), deadline=_soon(work)):
            if not await pause(work, self.recipe.poll_s):
                raise StepError(
                    Code.API_SERVER_DOWN,
                    f"the API is not ready ({why}), also after its services were started again; "
                    "look at the machines of its control planes",
                )
        for name in self.planes:
            node = node_of(work, name)
            if node.state is NodeState.UNHEALTHY:
                update = NodeUpdate(state=NodeState.READY, clear_unhealthy=True)
                await work.tools.store.update_node(work.lease, node.id, update)
        return NOTHING


async def _knows(work: Work, access: KubeAccess, name: str) -> bool:
    nodes = await work.tools.kube.nodes(access, deadline=work.deadline)
    return any(node.name == name for node in nodes)


def _soon(work: Work) -> float:
    """Give a deadline for one look, which a step may take many of."""
    return min(work.deadline, asyncio.get_running_loop().time() + 10.0)


def _busy(name: str) -> StepError:
    return StepError(Code.NOT_READY, f"{name}: kubeadm still runs there, begun by a conductor before this one")


def _reason(output: Output) -> str:
    lines = tail(f"{output.stderr}\n{output.stdout}".strip()).splitlines()
    return lines[-1][:300] if lines else f"exit code {output.exit_code}"
