"""Machines: instances with this cluster's labels."""

import ipaddress
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from kaas.domain.errors import Code, StepError
from kaas.domain.names import CLUSTER_LABEL, NODE_LABEL
from kaas.domain.ports import Condition, External, Kind, MachineFacts, MachineWish
from kaas.drivers.thecloud import marks
from kaas.drivers.thecloud.errors import translated
from kaas.drivers.thecloud.networks import vpc_id_of
from thecloud.capabilities import STRICT
from thecloud.client import Client
from thecloud.errors import Missing
from thecloud.presence import Gone, canonical_id
from thecloud.wire import Instance, InstanceStatus

_CONDITIONS: Mapping[InstanceStatus, tuple[Condition, str]] = {
    InstanceStatus.STARTING: (Condition.PENDING, ""),
    InstanceStatus.RUNNING: (Condition.READY, ""),
    InstanceStatus.PAUSED: (Condition.PENDING, "somebody has paused the instance"),
    # Nothing starts it again but a call that the published platform does not have.
    InstanceStatus.STOPPED: (Condition.FAILED, "the instance is stopped"),
    InstanceStatus.ERROR: (Condition.FAILED, "the platform has the instance in ERROR"),
    InstanceStatus.UNKNOWN: (Condition.PENDING, "the platform has the instance in a state that is not known here"),
}
_OLDEST = datetime.min.replace(tzinfo=UTC)
_GONE_TYPE = "NOT_FOUND"
_GONE_RESOURCES = ("", "instance")
"""The strict tier does not say what is missing; another kind than an instance proves nothing about this one."""


class Machines:
    """Instances. Names are not unique on the platform: what a lost answer doubled is found by its labels."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def find(self, cluster_id: str, name: str, *, deadline: float) -> Sequence[External]:
        """Give the cluster's machines; of several for one node the one to keep comes first."""
        with translated(f"looking for the machines of cluster {cluster_id}"):
            found = await self._client.launches.find_by_label(CLUSTER_LABEL, cluster_id, deadline=deadline)
        machines = sorted(found, key=lambda one: (_external(one).condition is Condition.FAILED, _age(one)))
        return tuple(external for external in map(_external, machines) if name in ("", external.name))

    async def get(self, cluster_id: str, machine_id: str, *, deadline: float) -> External | None:
        """Give a machine by its id, without a listing; None only when the platform says that there is none."""
        if canonical_id(machine_id) is None:
            # Nobody has said that anything is gone.
            raise StepError(Code.BUG, f"{machine_id[:80]!r} is no id of an instance; a uuid is needed")
        doing = f"asking for machine {machine_id} of cluster {cluster_id}"
        with translated(doing):
            try:
                found = await self._client.instances.read(machine_id, deadline=deadline)
            except Missing as error:
                if error.error_type == _GONE_TYPE and error.resource in _GONE_RESOURCES:
                    return None
                text = f"{doing}: {error}; this does not say whether it exists"
                raise StepError(Code.PLATFORM_UNAVAILABLE, text) from error
        external = _external(found)
        marks.check_labels(replace(external, cluster_id=cluster_id), found.labels)
        return external

    async def create(self, cluster_id: str, wish: MachineWish, *, deadline: float) -> External:
        """Launch it, unless one is there already; of several the best is kept and the others are deleted."""
        found = await self.find(cluster_id, wish.name, deadline=deadline)
        if found:
            await self._delete_all(found[1:], deadline=deadline)
            return found[0]
        vpc_id = await vpc_id_of(self._client, wish.vpc_id, deadline=deadline)
        with translated(f"launching machine {wish.name!r}"):
            key_id, commands = await self._login(wish, deadline=deadline)
            made = await self._client.launches.launch(
                name=wish.name,
                image=wish.image,
                instance_type=wish.instance_type,
                labels={**wish.labels, CLUSTER_LABEL: cluster_id, NODE_LABEL: wish.name},
                zone=wish.zone,
                vpc_id=vpc_id,
                ssh_key_id=key_id,
                cmd=commands,
                deadline=deadline,
            )
        return _external(made)

    async def update(self, external: External, wish: MachineWish, *, deadline: float) -> External:
        """Delete its doubles, and give it its security group if it runs; the group cannot be given at launch."""
        with translated(f"looking at machine {external.name!r}"):
            found = await self._client.instances.get(external.id, deadline=deadline)
        if isinstance(found, Gone):
            raise StepError(Code.NOT_READY, f"machine {external.name!r} ({external.id}) is gone; it is made anew")
        cluster_id = self._check(external, found)
        doubles = await self.find(cluster_id, wish.name, deadline=deadline)
        await self._delete_all([one for one in doubles if one.id != found.id], deadline=deadline)
        if found.status is InstanceStatus.RUNNING and wish.security_group_id:
            with translated(f"giving machine {external.name!r} its security group"):
                await self._client.security_groups.attach(wish.security_group_id, found.id, deadline=deadline)
        return _external(found)

    async def delete(self, external: External, *, deadline: float) -> None:
        """Terminate it, if it carries the cluster's label and the node's name."""
        with translated(f"deleting machine {external.name!r}"):
            found = await self._client.instances.get(external.id, deadline=deadline)
            if isinstance(found, Gone):
                return
            self._check(external, found)
            try:
                await self._client.launches.terminate(found.id, deadline=deadline)
            except Missing:
                # A fault of the strict tier may say so too; the lookup is what counts (platform contract 1.12).
                if not isinstance(await self._client.instances.get(found.id, deadline=deadline), Gone):
                    text = f"machine {external.name!r} ({found.id}): the platform says it is gone, and shows it still"
                    raise StepError(Code.PLATFORM_UNAVAILABLE, text) from None

    async def _delete_all(self, machines: Sequence[External], *, deadline: float) -> None:
        for machine in machines:
            await self.delete(machine, deadline=deadline)

    def _check(self, external: External, found: Instance) -> str:
        cluster_id = marks.check_labels(external, found.labels)
        if external.name and found.labels.get(NODE_LABEL, found.name) != external.name:
            raise marks.not_ours(external, f"its label {NODE_LABEL} is {found.labels.get(NODE_LABEL)!r}")
        return cluster_id

    async def _login(self, wish: MachineWish, *, deadline: float) -> tuple[str, tuple[str, ...]]:
        """Give key and commands of the launch.

        The published platform makes a document of both that no machine can read, so that the key becomes a command
        there (platform contract 4.3).
        """
        features = await self._client.features(deadline)
        if features.tier != STRICT or not wish.user_data or not wish.key_pair_id:
            return wish.key_pair_id, wish.user_data
        found = await self._client.ssh_keys.get(wish.key_pair_id, deadline=deadline)
        if isinstance(found, Gone):
            text = f"machine {wish.name!r} cannot be launched: its key pair {wish.key_pair_id} is gone"
            raise StepError(Code.NOT_READY, text)
        return "", (_trust(found.public_key), *wish.user_data)


def _trust(public_key: str) -> str:
    """Give the command that lets a key log in as root; what follows the key itself is a comment."""
    line = shlex.quote(" ".join(public_key.split()[:2]))
    return f"umask 077; mkdir -p /root/.ssh; printf '%s\\n' {line} >> /root/.ssh/authorized_keys"


def _external(one: Instance) -> External:
    condition, message = _CONDITIONS[one.status]
    address = _address(one.private_ip)
    if condition is Condition.READY and not address:
        condition, message = Condition.PENDING, "the platform has not told the instance's address yet"
    return External(
        kind=Kind.MACHINE,
        id=one.id,
        name=one.labels.get(NODE_LABEL, one.name),
        condition=condition,
        message=message,
        facts=MachineFacts(address=address, zone=one.zone or ""),
        cluster_id=one.labels.get(CLUSTER_LABEL, ""),
    )


def _address(text: str | None) -> str:
    """Give the address; empty for a text that is none, since a wrong one would be written into certificates."""
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        return ""
    return "" if address.is_unspecified else str(address)


def _age(one: Instance) -> tuple[datetime, str]:
    return one.created_at or _OLDEST, one.id
