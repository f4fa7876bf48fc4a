"""Load balancers of a test's services: waited for, looked at on the platform, and none left in the end."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ccm.names import BALANCER_PREFIX, CLUSTER_TAG, SERVICE_TAG
from tests.e2e.cluster import platform
from tests.e2e.cluster.credentials import CLUSTER_ID
from tests.e2e.outside import Client
from tests.e2e.world import World

Balancer = Mapping[str, Any]


async def addresses(world: World, service: str) -> list[str]:
    """Give the addresses that a service's status has."""
    found = (await world.get("service", service))["status"].get("loadBalancer", {}).get("ingress", [])
    return [str(one["ip"]) for one in found]


async def address_of(world: World, service: str) -> str:
    """Wait for a service's address."""

    async def look() -> str:
        return next(iter(await addresses(world, service)), "")

    return str(await world.until(look, f"service {service} to have an address"))


async def of_namespace(world: World, namespace: str) -> list[Balancer]:
    """Give the platform's load balancers with this cluster's mark that were made for services of a namespace."""
    every = await platform.call(world.site, "GET", f"/lb?tag={CLUSTER_TAG}:{CLUSTER_ID}") or []
    return [one for one in every if one["tags"].get(SERVICE_TAG, "").partition("/")[0] == namespace]


async def balancer_of(world: World, service: str) -> Balancer:
    """Give the load balancer that a service says it has, as the platform shows it."""
    annotations = (await world.get("service", service))["metadata"].get("annotations", {})
    found: Balancer = await platform.call(world.site, "GET", f"/lb/{annotations[f'{BALANCER_PREFIX}id']}")
    return found


async def health(world: World, service: str) -> dict[str, str]:
    """Give the health of a load balancer's targets by the names of their instances; "mixed" where listeners differ."""
    uid = (await world.get("service", service))["metadata"]["uid"]
    names = {one["id"]: one["name"] for one in await platform.call(world.site, "GET", "/instances")}
    (group,) = (one for one in (await balancer_of(world, service))["groups"] if one["name"] == uid)
    found = {names[one["instance_id"]]: set(one["health"].values()) for one in group["targets"]}
    return {name: next(iter(told)) if len(told) == 1 else "mixed" for name, told in found.items()}


async def only_healthy(world: World, service: str, node: str) -> None:
    """Wait until one of the workers is healthy and each of the others is known not to be: those get no traffic."""
    wanted = {one: "healthy" if one == node else "unhealthy" for one in world.site.workers}

    async def settled() -> bool:
        return await health(world, service) == wanted

    await world.until(settled, f"{node} alone to be healthy for service {service}")


async def refuses(world: World, client: Client, url: str) -> None:
    """Wait until a client outside has no answer any more."""

    async def look() -> bool:
        return await client.ask(url) is None

    await world.until(look, f"{url} to be closed for {client.address}")


async def answers(world: World, client: Client, url: str, *options: str) -> dict[str, Any]:
    """Wait until the echo server answers a client outside, and give what it saw."""

    async def look() -> dict[str, Any] | None:
        return await client.ask(url, *options)

    return dict(await world.until(look, f"an answer of {url} for {client.address}"))


@contextlib.asynccontextmanager
async def nothing_balanced(world: World) -> AsyncIterator[None]:
    """Delete the test's services in the end, and see that the platform has no load balancer for them any more."""
    try:
        yield
    finally:
        # kubectl waits for the finalizers, which are taken off when the platform has let go.
        await world.delete("service", "--all")
    left = await of_namespace(world, world.namespace)
    assert not left, f"load balancers are left: {[one['name'] for one in left]}"
