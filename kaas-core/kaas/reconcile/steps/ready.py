"""The end of making a cluster: it is ready, and what was needed only to make it is taken away."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kaas.bootstrap import commands
from kaas.domain import names
from kaas.domain.errors import Code, StepError
from kaas.domain.model import Cni, Health, Role
from kaas.domain.ports import Kind, KubeAccess
from kaas.domain.states import NodeState
from kaas.domain.store import NodeUpdate
from kaas.domain.texts import listed
from kaas.reconcile.step import NOTHING, Result, Work
from kaas.reconcile.steps import outside
from kaas.reconcile.steps.access import kube_access, node_of, ssh_target
from kaas.reconcile.steps.addons import Addons
from kaas.reconcile.steps.base import BaseStep, Recipe, pause, whole
from kaas.reconcile.steps.machine import Place, is_alive, remake

_LOOKS = 10
"""So often the cluster is asked what is missing before the platform is asked whether the machines still live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(BaseStep):
    """The nodes that have come are Ready and known to the platform's controller; of a new cluster, all of it runs.

    Nodes that were there before are not waited for: whether they have to be replaced is not this operation's matter.
    """

    new: tuple[str, ...]
    staying: tuple[str, ...]
    whole: bool
    """What the cluster itself needs has to run too."""
    addons: Addons
    recipe: Recipe
    place: Place

    async def verify(self, work: Work) -> Result:
        """Wait for it, and write down what is there. Raises StepError (NOT_READY) that names what is missing."""
        access = await kube_access(work)
        looks = 0
        while missing := await self._missing(work, access):
            looks += 1
            if looks % _LOOKS == 0:
                await self._replace_dead(work, access)
            if not await pause(work, self.recipe.poll_s):
                raise StepError(Code.NOT_READY, f"not ready: {listed(missing)}")
        await self._write_down(work, access)
        return NOTHING

    async def _missing(self, work: Work, access: KubeAccess) -> Sequence[str]:
        spec = work.snapshot.cluster.spec
        there = {node.name: node for node in await work.tools.kube.nodes(access, deadline=work.deadline)}
        missing = [f"{name}: the API knows no such node" for name in self.new if name not in there]
        ours = [there[name] for name in self.new if name in there]
        missing += [
            f"{node.name}: the cloud controller manager has not initialised it" for node in ours if not node.initialised
        ]
        if spec.cni is Cni.NONE:
            # Whoever asked for no network brings one later; nodes are not Ready before, and pods do not start.
            return missing
        missing += [f"{node.name}: {node.message or 'not Ready'}" for node in ours if not node.ready]
        if self.whole and not missing:
            for namespace in self.addons.namespaces(spec):
                missing += await work.tools.kube.rolled_out(access, namespace, deadline=work.deadline)
        return missing

    async def _replace_dead(self, work: Work, access: KubeAccess) -> None:
        """Make a worker's machine anew that died after its join, which then joins again. Raises StepError."""
        there = {node.name: node for node in await work.tools.kube.nodes(access, deadline=work.deadline)}
        for name in self.new:
            if (name in there and there[name].ready) or await is_alive(work, name):
                continue
            if node_of(work, name).role is Role.CONTROL_PLANE:
                raise StepError(
                    Code.MACHINE_FAILED,
                    f"{name}: its machine died after it had joined; it is a member of etcd, and has to be replaced "
                    "with care: repair the cluster, or delete it and make it again",
                )
            await whole(remake(work, name, self.recipe, self.place, step=f"machine/{name}"))
            raise StepError(Code.NOT_READY, f"{name}: its machine died after it had joined, and was made anew")

    async def _write_down(self, work: Work, access: KubeAccess) -> None:
        store, lease = work.tools.store, work.lease
        there = {node.name: node for node in await work.tools.kube.nodes(access, deadline=work.deadline)}
        for name in self.staying:
            node, seen = node_of(work, name), there.get(name)
            if seen is None or not (seen.ready or name in self.new):
                continue
            if node.state is not NodeState.READY or node.version != seen.version or node.unhealthy_since is not None:
                update = NodeUpdate(state=NodeState.READY, version=seen.version, clear_unhealthy=True)
                await store.update_node(lease, node.id, update)
        ready = sum(node.ready for node in there.values())
        health = Health(api_server=True, nodes_total=len(there), nodes_ready=ready, checked_at=datetime.now(UTC))
        await store.update_cluster(lease, health=health)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal(BaseStep):
    """Tokens to join with are revoked, credentials that only the making needed are off the nodes.

    Nothing is there twice, either: a request whose answer did not come in time may have been carried out after it was
    made again.
    """

    nodes: tuple[str, ...]

    async def apply(self, work: Work) -> None:
        """Take them away. A node that cannot be reached is tried again, unless its machine is no more."""
        await self._drop_doubles(work)
        access = await kube_access(work)
        await work.tools.kube.delete_bootstrap_tokens(access, deadline=work.deadline)
        for name in self.nodes:
            if not await is_alive(work, name):
                continue
            target = await ssh_target(work, node_of(work, name))
            output = await work.tools.remote.run(target, commands.SEAL, deadline=work.deadline)
            if output.exit_code != 0:
                raise StepError(Code.NODE_UNREACHABLE, f"{name}: not sealed: {output.stderr.strip()[-300:]}")

    async def _drop_doubles(self, work: Work) -> None:
        name, cluster_id = work.snapshot.cluster.name, work.snapshot.cluster.id
        singles = {
            Kind.ENDPOINT: names.endpoint(name, cluster_id),
            Kind.SECURITY_GROUP: names.security_group(name),
            Kind.KEY_PAIR: names.key_pair(name, cluster_id),
            Kind.CREDENTIAL: names.credential(name, cluster_id),
        }
        for kind, called in singles.items():
            await outside.look(work, kind, called)
