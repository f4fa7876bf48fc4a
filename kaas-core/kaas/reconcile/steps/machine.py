"""Machines: made once, made anew when the platform fails to, and replaced once when they never tell anything."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from kaas.bootstrap.tokens import new_boot_token
from kaas.bootstrap.userdata import FAILED, FirstBoot, first_boot_commands
from kaas.domain import names
from kaas.domain.errors import Code, StepError
from kaas.domain.model import GroupSpec, Node
from kaas.domain.ports import Condition, External, Kind, MachineFacts, MachineWish
from kaas.domain.states import NodeState, RefState
from kaas.domain.store import NodeUpdate
from kaas.reconcile.step import NOTHING, Result, Work
from kaas.reconcile.steps import outside
from kaas.reconcile.steps.access import node_of
from kaas.reconcile.steps.base import BaseStep, Recipe, pause, whole
from kaas.reconcile.steps.ground import public_key

_LOOKS = 10
"""The store is asked so many times for a report before the platform is asked whether the machine still lives."""
_EARLY = frozenset({NodeState.WANTED, NodeState.PROVISIONING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a machine is made with: the steps that say the ids of its security group and its key pair."""

    security_group: str
    key_pair: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine(BaseStep):
    """A node has a machine that runs, has an address and its security group."""

    node: str
    recipe: Recipe
    place: Place

    async def check(self, work: Work) -> Result | None:
        """Find it; written down with its address, it has all it needs."""
        found = await outside.look(work, Kind.MACHINE, self.node)
        node = node_of(work, self.node)
        if found is None or not runs(found) or (node.instance_id, node.address) != (found.id, _address(found)):
            return None
        return await settle(work, found, self.place, step=self.key)

    async def apply(self, work: Work) -> None:
        """Make it, unless it is on its way. What one that disappeared has told before is forgotten."""
        if await outside.look(work, Kind.MACHINE, self.node) is not None:
            return
        node = await fresh(work, self.node)
        if node.instance_id or node.ssh_host_key or node.boot_phase:
            await whole(remake(work, self.node, self.recipe, self.place, step=self.key))
        else:
            await make_machine(work, self.node, self.recipe, self.place, step=self.key)

    async def verify(self, work: Work) -> Result:
        """Wait until it runs; make it anew when the platform failed to. Raises StepError."""
        tries = self.recipe.machine_tries
        for number in range(1, tries + 1):
            found = await self._wait(work)
            if runs(found):
                return await settle(work, found, self.place, step=self.key)
            message = found.message or "nothing"
            if number < tries:
                await whole(remake(work, self.node, self.recipe, self.place, step=self.key))
        raise StepError(
            Code.MACHINE_FAILED,
            f"{self.node}: {tries} machines failed one after the other; the platform says of the last: {message}; "
            "ask who runs the platform, then repair the cluster",
        )

    async def _wait(self, work: Work) -> External:
        """Give the machine when it runs or has failed."""
        while True:
            found = await outside.look(work, Kind.MACHINE, self.node)
            if found is not None and (runs(found) or found.condition is Condition.FAILED):
                return found
            if found is None or not await pause(work, self.recipe.poll_s):
                seen = "it is not to be seen" if found is None else f"it is still {found.condition}"
                raise StepError(Code.PLATFORM_UNAVAILABLE, f"machine of {self.node}: {seen} on the platform")


@dataclass(frozen=True, slots=True)
class _Heard:
    """What became of a machine that was waited for; `trouble` is empty when it has booted."""

    trouble: str = ""
    log_tail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot(BaseStep):
    """A machine has booted and told its host key; one that does not is replaced once."""

    node: str
    recipe: Recipe
    place: Place
    machine: str
    """Key of the step that made it."""

    async def verify(self, work: Work) -> Result:
        """Wait for its report. Raises StepError (NODE_SILENT) with the end of its log."""
        heard = await self._wait(work, self._silent_for(work))
        node = await fresh(work, self.node)
        if heard.trouble and node.instance_id == work.results[self.machine].get("id"):
            await whole(remake(work, self.node, self.recipe, self.place, step=self.machine))
            heard = await self._wait(work, 0.0)
        if heard.trouble:
            raise StepError(
                Code.NODE_SILENT,
                f"{self.node}: {heard.trouble}, as was the machine before it; see whether its image has sshd and curl, "
                f"and whether it reaches {self.recipe.phone_home_url}",
                log_tail=heard.log_tail,
            )
        return await self._settle(work)

    async def _wait(self, work: Work, silent_s: float) -> _Heard:
        """Wait until the machine has told something, is seen to be dead, or has been silent for too long."""
        clock = asyncio.get_running_loop().time
        silent_since = clock() - silent_s
        looked_at = clock()
        while True:
            node = await fresh(work, self.node)
            if node.boot_phase == FAILED:
                return _Heard("its first boot went wrong", node.log_tail)
            if node.ssh_host_key:
                return _Heard("" if await is_alive(work, self.node) else "its machine died after its boot")
            if clock() - silent_since >= self.recipe.silent_after_s:
                return _Heard("it has not reported its first boot", node.log_tail)
            if clock() - looked_at >= _LOOKS * self.recipe.poll_s:
                looked_at = clock()
                if not await is_alive(work, self.node):
                    return _Heard("its machine died before it had booted", node.log_tail)
            if not await pause(work, self.recipe.poll_s):
                raise StepError(Code.NOT_READY, f"{self.node}: its machine has not reported its first boot yet")

    async def _settle(self, work: Work) -> Result:
        """Write down where the machine is, which for one that was replaced is not known yet."""
        node = await fresh(work, self.node)
        while not node.address:
            found = await outside.look(work, Kind.MACHINE, self.node)
            if found is not None and runs(found):
                await settle(work, found, self.place, step=self.machine)
                break
            if not await pause(work, self.recipe.poll_s):
                raise StepError(Code.NOT_READY, f"{self.node}: it has booted; the platform does not say so yet")
        if node.state in _EARLY:
            await work.tools.store.update_node(work.lease, node.id, NodeUpdate(state=NodeState.JOINING))
        return NOTHING

    def _silent_for(self, work: Work) -> float:
        """Give for how long the machine has been silent already, when a conductor before us waited for it."""
        begun = next((record.started_at for record in work.snapshot.steps if record.key == self.key), None)
        return 0.0 if begun is None else max(0.0, (datetime.now(UTC) - begun).total_seconds())


async def make_machine(work: Work, name: str, recipe: Recipe, place: Place, *, step: str) -> External:
    """Make a node's machine. Its token is issued before, because the machine is told it with its first commands."""
    cluster, node = work.snapshot.cluster, node_of(work, name)
    ref = await outside.intend(work, Kind.MACHINE, name, step=step, node_id=node.id)
    token = new_boot_token()
    await work.tools.boots.issue_boot_token(work.lease, node.id, token.hash, ttl_s=recipe.boot_token_ttl_s)
    boot = FirstBoot(
        url=recipe.phone_home_url,
        ca_pem=recipe.phone_home_ca_pem,
        token=token.secret,
        authorized_key=await public_key(work) if recipe.authorized_key_in_user_data else "",
    )
    wish = _wish(work, name, place, first_boot_commands(boot))
    made = await work.tools.driver.create(cluster.id, wish, deadline=work.deadline)
    await work.tools.store.update_ref(work.lease, ref, RefState.PRESENT, external_id=made.id)
    # By its id it is asked for from now on, whatever listings say.
    await work.tools.store.update_node(work.lease, node.id, NodeUpdate(instance_id=made.id))
    return made


async def remake(work: Work, name: str, recipe: Recipe, place: Place, *, step: str) -> External:
    """Delete a node's machine and make another one, with everything forgotten that the first one told."""
    await outside.delete_all(work, Kind.MACHINE, name=name)
    await outside.all_gone(work, Kind.MACHINE, name=name, poll_s=recipe.poll_s)
    node = node_of(work, name)
    update = NodeUpdate(
        state=NodeState.PROVISIONING, instance_id="", address="", boot_phase="", log_tail="", ssh_host_key=""
    )
    await work.tools.store.update_node(work.lease, node.id, update)
    return await make_machine(work, name, recipe, place, step=step)


async def at_hand(work: Work, name: str, recipe: Recipe, place: Place, *, step: str) -> Node:
    """Give a node whose machine can be logged in to. One that has died since its boot is made anew first.

    Raises StepError (NOT_READY) until the new one has booted.
    """
    found = await outside.look(work, Kind.MACHINE, name)
    if found is None or found.condition is Condition.FAILED:
        await whole(remake(work, name, recipe, place, step=step))
        raise StepError(Code.NOT_READY, f"{name}: its machine died and was made anew; it has to boot first")
    node = await fresh(work, name)
    if not node.ssh_host_key or not runs(found):
        raise StepError(Code.NOT_READY, f"{name}: the machine that was made anew has not booted yet")
    if node.address != _address(found):
        await settle(work, found, place, step=step)
        node = await fresh(work, name)
    return node


async def is_alive(work: Work, name: str) -> bool:
    """Tell whether the platform has a node's machine, and does not say that it failed."""
    found = await outside.look(work, Kind.MACHINE, name)
    return found is not None and found.condition is not Condition.FAILED


async def settle(work: Work, found: External, place: Place, *, step: str) -> Result:
    """Give a machine that runs what could not be given to it before, and write it down."""
    facts = found.facts
    if not isinstance(facts, MachineFacts):
        raise StepError(Code.BUG, f"machine {found.name}: the driver gave no facts of it")
    # Some platforms let only machines that run into a security group.
    wish = _wish(work, found.name, place, ())
    await work.tools.driver.update(found, wish, deadline=work.deadline)
    node = await fresh(work, found.name)
    await outside.adopt(work, found, step=step, node_id=node.id)
    if (node.instance_id, node.address) != (found.id, facts.address) or node.state is NodeState.WANTED:
        state = NodeState.PROVISIONING if node.state is NodeState.WANTED else None
        update = NodeUpdate(state=state, instance_id=found.id, address=facts.address)
        await work.tools.store.update_node(work.lease, node.id, update)
    return {"id": found.id, "address": facts.address, "zone": facts.zone}


def runs(found: External) -> bool:
    """Tell whether a machine runs and has an address."""
    return found.condition is Condition.READY and bool(_address(found))


async def fresh(work: Work, name: str) -> Node:
    """Read a node again: what machines report is written beside us."""
    node = await work.tools.store.node(work.lease, name)
    if node is None:
        raise StepError(Code.NOT_READY, f"{name} is not a node of the cluster any more")
    return node


def _address(found: External) -> str:
    return found.facts.address if isinstance(found.facts, MachineFacts) else ""


def _wish(work: Work, name: str, place: Place, user_data: tuple[str, ...]) -> MachineWish:
    cluster, node = work.snapshot.cluster, node_of(work, name)
    group = next(one for one in cluster.spec.groups if one.name == node.group)
    return MachineWish(
        name=name,
        image=cluster.spec.image,
        instance_type=group.instance_type,
        vpc_id=cluster.spec.vpc_id,
        zone=_zone(cluster.spec.zones, name),
        key_pair_id=str(work.results[place.key_pair]["id"]),
        security_group_id=str(work.results[place.security_group]["id"]),
        user_data=user_data,
        labels=_labels(node, group),
    )


def _zone(zones: tuple[str, ...], name: str) -> str:
    """Spread nodes by their numbers, so that the same node always gets the same zone."""
    number = name.rpartition("-")[2]
    return zones[int(number) % len(zones)] if zones and number.isdigit() else ""


def _labels(node: Node, group: GroupSpec) -> dict[str, str]:
    return {
        names.CLUSTER_LABEL: node.cluster_id,
        names.NODE_LABEL: node.name,
        names.ROLE_LABEL: node.role.value,
        "kaas-group": group.name,
    }
