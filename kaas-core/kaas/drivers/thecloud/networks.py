"""Which VPC a cluster lies in."""

from kaas.domain.errors import Code, StepError
from kaas.drivers.thecloud.errors import translated
from thecloud.client import Client
from thecloud.network_wire import Vpc


async def vpc_id_of(client: Client, vpc_id: str, *, deadline: float) -> str:
    """Give the id of the VPC that is asked for; of none, the tenant's first. Raises StepError."""
    if vpc_id:
        return vpc_id
    found = await first_vpc(client, deadline=deadline)
    if found is None:
        raise StepError(Code.PLATFORM_REFUSED, "the tenant has no VPC; make one and name it")
    return found.id


async def first_vpc(client: Client, *, deadline: float) -> Vpc | None:
    """Give the tenant's oldest VPC, which is the platform's own default; None when it has none."""
    with translated("listing the VPCs"):
        found = await client.vpcs.list(deadline=deadline)
    return found[-1] if found else None
