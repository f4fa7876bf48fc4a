"""Security groups: one per cluster, whose rules follow its machines."""

from collections.abc import Iterable, Sequence

from kaas.domain.errors import Code, StepError
from kaas.domain.ports import Condition, External, Kind, MachineFacts, SecurityGroupWish
from kaas.drivers.thecloud import marks
from kaas.drivers.thecloud.errors import translated
from kaas.drivers.thecloud.machines import Machines
from kaas.drivers.thecloud.networks import vpc_id_of
from kaas.drivers.thecloud.options import DriverOptions
from kaas.drivers.thecloud.rules import difference, is_whole, lines_of
from thecloud.client import Client
from thecloud.errors import Conflict, Missing
from thecloud.network_wire import SecurityGroup, Vpc
from thecloud.presence import Gone
from thecloud.security_groups import DETAILS


class SecurityGroups:
    """Security groups whose description names the cluster; the name alone is nobody's."""

    def __init__(self, client: Client, machines: Machines, options: DriverOptions) -> None:
        self._client = client
        self._machines = machines
        self._options = options

    async def find(self, cluster_id: str, name: str, *, deadline: float) -> Sequence[External]:
        """Give the cluster's groups. One whose rules were not all written yet is PENDING: let `update` write them."""
        with translated(f"looking for the security group of cluster {cluster_id}"):
            groups: list[SecurityGroup] = []
            for vpc in await self._client.vpcs.list(deadline=deadline):
                groups += await self._client.security_groups.in_vpc(vpc.id, deadline=deadline)
            ours = [one for one in groups if marks.cluster_of_description(one.description) == cluster_id]
            return [_external(one) for one in await self._with_rules(ours, deadline=deadline) if name in ("", one.name)]

    async def create(self, cluster_id: str, wish: SecurityGroupWish, *, deadline: float) -> External:
        """Make it with its rules; one of a try before is completed, one of anybody else is refused."""
        vpc_id = await vpc_id_of(self._client, wish.vpc_id, deadline=deadline)
        found = await self._named(cluster_id, wish.name, vpc_id, deadline=deadline)
        if found is None:
            await self._assure_only_one(cluster_id, wish.name, deadline=deadline)
            try:
                with translated(f"making security group {wish.name!r}"):
                    found = await self._client.security_groups.create(
                        vpc_id=vpc_id,
                        name=wish.name,
                        description=marks.description_of(cluster_id),
                        deadline=deadline,
                    )
            except StepError as error:
                if not isinstance(error.__cause__, Conflict):
                    raise
                # It was there, and the look before did not show it.
                found = await self._named(cluster_id, wish.name, vpc_id, deadline=deadline)
                if found is None:
                    raise
        return await self.update(_external(found), wish, deadline=deadline)

    async def update(self, external: External, wish: SecurityGroupWish, *, deadline: float) -> External:
        """Write the rules that differ, for the machines that there are now, and give it to those that run.

        New rules come before old ones go, so that nothing is shut out meanwhile.
        """
        doing = f"writing the rules of security group {external.name!r}"
        with translated(doing):
            found = await self._client.security_groups.get(external.id, deadline=deadline)
        if isinstance(found, Gone):
            raise StepError(
                Code.NOT_READY, f"security group {external.name!r} ({external.id}) is gone; it is made anew"
            )
        cluster_id = marks.check(external, marks.cluster_of_description(found.description))
        machines = await self._machines.find(cluster_id, "", deadline=deadline)
        addresses = [one.facts.address for one in machines if isinstance(one.facts, MachineFacts)]
        missing, extra = difference(lines_of(wish.rules, self._options, addresses), found.rules)
        with translated(doing):
            for line in missing:
                await self._client.security_groups.add_rule(
                    found.id,
                    protocol=line.protocol,
                    port_min=line.port_min,
                    port_max=line.port_max,
                    cidr=line.cidr,
                    deadline=deadline,
                )
            for rule_id in extra:
                await self._remove_rule(rule_id, deadline=deadline)
        running = [one.id for one in machines if one.condition is Condition.READY]
        await self._attach(found, running, deadline=deadline)
        return External(Kind.SECURITY_GROUP, found.id, found.name, Condition.READY, cluster_id=cluster_id)

    async def delete(self, external: External, *, deadline: float) -> None:
        """Delete it, if its description names the cluster."""
        with translated(f"deleting security group {external.name!r}"):
            found = await self._client.security_groups.get(external.id, deadline=deadline)
            if isinstance(found, Gone):
                return
            marks.check(external, marks.cluster_of_description(found.description))
            if external.name and found.name != external.name:
                raise marks.not_ours(external, f"it is called {found.name!r}")
            try:
                await self._client.security_groups.delete(found.id, deadline=deadline)
            except Missing:
                return

    async def _named(self, cluster_id: str, name: str, vpc_id: str, *, deadline: float) -> SecurityGroup | None:
        """Give the group of a name in a VPC, with or without its rules; raises StepError when it is another's."""
        with translated(f"looking for security group {name!r}"):
            groups = await self._client.security_groups.in_vpc(vpc_id, deadline=deadline)
        found = next((one for one in groups if one.name == name), None)
        if found is not None and marks.cluster_of_description(found.description) != cluster_id:
            raise StepError(
                Code.PLATFORM_REFUSED,
                f"VPC {vpc_id} has a security group {name!r} already ({found.id}, described as "
                f"{found.description[:80]!r}), which is not this cluster's; rename or delete it, or give the cluster "
                "another name",
            )
        return found

    async def _assure_only_one(self, cluster_id: str, name: str, *, deadline: float) -> None:
        """Raise StepError when another cluster of this name is anywhere in the tenant.

        Machines of both would have the same names, by which CSI driver and cloud controller manager look for them.
        """
        for vpc in await self._vpcs(deadline=deadline):
            with translated(f"looking for security group {name!r}"):
                groups = await self._client.security_groups.in_vpc(vpc.id, deadline=deadline)
            for one in groups:
                if one.name == name and marks.cluster_of_description(one.description) not in ("", cluster_id):
                    raise StepError(
                        Code.PLATFORM_REFUSED,
                        f"the platform's tenant has a cluster with a security group {name!r} already, in VPC {vpc.id}; "
                        "machines of both would have the same names: give the cluster another name",
                    )

    async def _vpcs(self, *, deadline: float) -> Sequence[Vpc]:
        with translated("listing the VPCs"):
            return await self._client.vpcs.list(deadline=deadline)

    async def _with_rules(self, groups: Iterable[SecurityGroup], *, deadline: float) -> Sequence[SecurityGroup]:
        """Give the groups with their rules, which listings of the strict tier do not show."""
        if (await self._client.features(deadline)).has(DETAILS):
            return tuple(groups)
        looks = [await self._client.security_groups.get(one.id, deadline=deadline) for one in groups]
        return [one for one in looks if not isinstance(one, Gone)]

    async def _attach(self, group: SecurityGroup, running: Sequence[str], *, deadline: float) -> None:
        """Give the group to all machines that run.

        Where the platform does not tell who has it, all are given it again: only that puts new rules in force there.
        """
        with translated(f"giving security group {group.name!r} to its machines"):
            for instance_id in running:
                if group.instance_ids is None or instance_id not in group.instance_ids:
                    await self._attach_one(group.id, instance_id, deadline=deadline)

    async def _attach_one(self, group_id: str, instance_id: str, *, deadline: float) -> None:
        try:
            await self._client.security_groups.attach(group_id, instance_id, deadline=deadline)
        except Missing:
            # A machine that has gone since it was listed needs none.
            if not isinstance(await self._client.instances.get(instance_id, deadline=deadline), Gone):
                raise

    async def _remove_rule(self, rule_id: str, *, deadline: float) -> None:
        try:
            await self._client.security_groups.remove_rule(rule_id, deadline=deadline)
        except Missing:
            return


def _external(one: SecurityGroup) -> External:
    whole = is_whole(one.rules)
    return External(
        kind=Kind.SECURITY_GROUP,
        id=one.id,
        name=one.name,
        condition=Condition.READY if whole else Condition.PENDING,
        message="" if whole else "its rules are not all written yet",
        cluster_id=marks.cluster_of_description(one.description),
    )
