"""The driver: each kind of thing has a module of its own; this one passes calls on."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from kaas.domain.errors import Code, Problem, StepError
from kaas.domain.model import ClusterSpec
from kaas.domain.ports import (
    CredentialWish,
    Driver,
    EndpointWish,
    External,
    KeyPairWish,
    Kind,
    MachineWish,
    SecurityGroupWish,
    Wish,
)
from kaas.drivers.thecloud.credentials import Credentials
from kaas.drivers.thecloud.endpoints import Endpoints
from kaas.drivers.thecloud.key_pairs import KeyPairs
from kaas.drivers.thecloud.leftovers import LoadBalancers, Volumes
from kaas.drivers.thecloud.machines import Machines
from kaas.drivers.thecloud.options import DriverOptions
from kaas.drivers.thecloud.preflight import problems_of
from kaas.drivers.thecloud.security_groups import SecurityGroups
from thecloud.client import Client


class Part(Protocol):
    """What is done with every kind of thing."""

    async def find(self, cluster_id: str, name: str, *, deadline: float) -> Sequence[External]:
        """Give what the cluster has of the kind; an empty name lets all pass."""
        ...

    async def delete(self, external: External, *, deadline: float) -> None:
        """Ask for its end; raises StepError for what is not known to be the cluster's."""
        ...


class TheCloudDriver:
    """`kaas.domain.ports.Driver` on The Cloud's API; `client` is opened and closed by whoever made it.

    Everything is made and deleted with the one API key of `client`, in its tenant: listings of the published platform
    show load balancers to the user alone that made them.
    """

    def __init__(self, client: Client, options: DriverOptions | None = None) -> None:
        """Take what is needed; nothing is asked yet."""
        self._client = client
        self._options = options or DriverOptions()
        self._machines = Machines(client)
        self._endpoints = Endpoints(client, self._machines, self._options)
        self._security_groups = SecurityGroups(client, self._machines, self._options)
        self._key_pairs = KeyPairs(client)
        self._credentials = Credentials(client)
        self._parts: dict[Kind, Part] = {
            Kind.LOAD_BALANCER: LoadBalancers(client),
            Kind.ENDPOINT: self._endpoints,
            Kind.MACHINE: self._machines,
            Kind.VOLUME: Volumes(client, self._options),
            Kind.SECURITY_GROUP: self._security_groups,
            Kind.KEY_PAIR: self._key_pairs,
            Kind.CREDENTIAL: self._credentials,
        }

    @property
    def name(self) -> str:
        """What it is called in settings."""
        return "thecloud"

    async def offers_endpoint(self, *, deadline: float) -> bool:
        """Tell whether the platform has a load balancer with an address that passes TCP on."""
        return await self._endpoints.is_offered(deadline=deadline)

    async def preflight(self, spec: ClusterSpec, *, deadline: float) -> Sequence[Problem]:
        """Tell everything that would stop a cluster like this."""
        has_endpoint = await self.offers_endpoint(deadline=deadline)
        return await problems_of(self._client, spec, self._options, has_endpoint=has_endpoint, deadline=deadline)

    async def find(self, kind: Kind, cluster_id: str, *, name: str = "", deadline: float) -> Sequence[External]:
        """Give what the cluster has of a kind; of several under one name, the one to keep comes first."""
        _check_id(cluster_id)
        return await self._parts[kind].find(cluster_id, name, deadline=deadline)

    async def machine(self, cluster_id: str, machine_id: str, *, deadline: float) -> External | None:
        """Give an instance by its id; None only for a 404 in the platform's own form."""
        _check_id(cluster_id)
        return await self._machines.get(cluster_id, machine_id, deadline=deadline)

    async def create(self, cluster_id: str, wish: Wish, *, deadline: float) -> External:
        """Make it, or take what an earlier try has made; raises StepError (NOT_OFFERED) for what there is not."""
        _check_id(cluster_id)
        deadline = self._of_change(deadline)
        match wish:
            case MachineWish():
                return await self._machines.create(cluster_id, wish, deadline=deadline)
            case EndpointWish():
                return await self._endpoints.create(cluster_id, wish, deadline=deadline)
            case SecurityGroupWish():
                return await self._security_groups.create(cluster_id, wish, deadline=deadline)
            case KeyPairWish():
                return await self._key_pairs.create(cluster_id, wish, deadline=deadline)
            case CredentialWish():
                return await self._credentials.create(cluster_id, wish, deadline=deadline)

    async def update(self, external: External, wish: Wish, *, deadline: float) -> External:
        """Let rules, targets, sources and membership in the security group become what is wished.

        A machine gets its security group here, or all at once with the group's own update: call one of both when
        machines have come up, since neither exists at launch.
        """
        deadline = self._of_change(deadline)
        match external.kind, wish:
            case Kind.MACHINE, MachineWish():
                return await self._machines.update(external, wish, deadline=deadline)
            case Kind.ENDPOINT, EndpointWish():
                return await self._endpoints.update(external, wish, deadline=deadline)
            case Kind.SECURITY_GROUP, SecurityGroupWish():
                return await self._security_groups.update(external, wish, deadline=deadline)
            case (Kind.KEY_PAIR, KeyPairWish()) | (Kind.CREDENTIAL, CredentialWish()):
                return external
            case _:
                raise StepError(Code.BUG, f"{external.kind} {external.name!r} cannot become a {type(wish).__name__}")

    async def delete(self, external: External, *, deadline: float) -> None:
        """Ask for its end, if it carries the cluster's mark; what is gone already is no error."""
        await self._parts[external.kind].delete(external, deadline=self._of_change(deadline))

    def _of_change(self, deadline: float) -> float:
        return min(deadline, asyncio.get_running_loop().time() + self._options.change_s)


def _check_id(cluster_id: str) -> None:
    if not cluster_id:
        # An empty mark would fit what belongs to nobody.
        raise StepError(Code.BUG, "a cluster without an id has nothing on the platform")


if TYPE_CHECKING:

    def _conforms(driver: TheCloudDriver) -> Driver:
        return driver
