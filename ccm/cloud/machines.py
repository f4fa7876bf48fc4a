"""Machines of node groups: launched, found and deleted by this cluster's label."""

import asyncio
from pathlib import Path

from ccm.autoscaler.model import CLUSTER_LABEL, GROUP_LABEL, Launch, Machine, MachineType, Template
from ccm.cloud.errors import translated
from ccm.model import Instance, InstanceState
from ccm.ports import Cause, CloudError, CloudInstances
from thecloud import wire
from thecloud.launches import Launches

_MAX_COMMAND_BYTES = 256 << 10
_MAYBE_GONE = frozenset({Cause.MISSING, Cause.UNKNOWN})


class CloudMachines:
    """`ccm.autoscaler.ports.Machines` on the platform's client."""

    def __init__(self, launches: Launches, instances: CloudInstances, *, cluster_id: str) -> None:
        """`instances` is asked whether one is gone: its answer alone may say so."""
        self._launches = launches
        self._instances = instances
        self._cluster_id = cluster_id

    async def list(self, *, deadline: float) -> tuple[Machine, ...]:
        """List the instances with this cluster's label, in one call; as fresh as the question."""
        with translated():
            found = await self._launches.find_by_label(CLUSTER_LABEL, self._cluster_id, deadline=deadline)
        return tuple(_of_wire(one) for one in found)

    async def look_up(self, machine_id: str, *, deadline: float) -> Machine | None:
        """Ask for one instance, whoever's it is; None only when it is definitely gone."""
        found = await self._instances.look_up(machine_id, deadline=deadline)
        return None if found is None else _of_instance(found)

    async def launch(self, launch: Launch, *, deadline: float) -> Machine:
        """Make an instance; with cause UNKNOWN there may be one, found by its labels."""
        template = launch.template
        cmd = await _commands(template)
        with translated():
            made = await self._launches.launch(
                name=launch.name,
                image=template.image,
                instance_type=template.instance_type,
                labels=launch.labels,
                zone=template.zone,
                vpc_id=template.vpc_id,
                subnet_id=template.subnet_id,
                ssh_key_id=template.ssh_key_id,
                cmd=cmd,
                metadata=template.metadata,
                deadline=deadline,
            )
        return _of_wire(made)

    async def terminate(self, machine_id: str, *, group: str, deadline: float) -> None:
        """Delete an instance if it carries the labels of this cluster and group; one that is gone is no error."""
        found = await self.look_up(machine_id, deadline=deadline)
        if found is None:
            return
        if found.labels.get(CLUSTER_LABEL) != self._cluster_id or found.labels.get(GROUP_LABEL) != group:
            raise CloudError(
                Cause.GUARD,
                f"instance {machine_id} does not carry {CLUSTER_LABEL}={self._cluster_id} and {GROUP_LABEL}={group};"
                " it was not deleted",
            )
        try:
            with translated():
                await self._launches.terminate(machine_id, deadline=deadline)
        except CloudError as error:
            # Neither "not found" nor a fault of this call says anything by itself (platform contract 1.12).
            if error.cause not in _MAYBE_GONE or await self.look_up(machine_id, deadline=deadline) is not None:
                raise

    async def types(self, *, deadline: float) -> tuple[MachineType, ...]:
        """List what the platform sells."""
        with translated():
            types = await self._launches.types(deadline=deadline)
        return tuple(
            MachineType(name=one.id, vcpus=one.vcpus, memory_mb=one.memory_mb, price_per_hour=one.price_per_hour)
            for one in types
        )


async def _commands(template: Template) -> tuple[str, ...]:
    if template.cmd_file is None:
        return template.cmd
    return (*template.cmd, await asyncio.to_thread(_read, template.cmd_file))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_COMMAND_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        raise CloudError(Cause.NOT_SENT, f"the commands of new machines: {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise CloudError(Cause.REFUSED, f"the commands of new machines: {path}: not UTF-8") from None
    if len(raw) > _MAX_COMMAND_BYTES:
        raise CloudError(Cause.REFUSED, f"the commands of new machines: {path}: more than {_MAX_COMMAND_BYTES} bytes")
    return text


def _of_wire(one: wire.Instance) -> Machine:
    return Machine(
        id=one.id,
        name=one.name,
        state=InstanceState(one.status.value),
        labels=one.labels,
        created_at=one.created_at,
    )


def _of_instance(one: Instance) -> Machine:
    return Machine(id=one.id, name=one.name, state=one.state, labels=one.labels, created_at=one.created_at)
