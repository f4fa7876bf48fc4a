"""Who a caller is, and which networks there are, asked of a platform of each tier."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from devcloud.faults import Fault, Kind
from kaas.access import Accounts, PlatformNetworks
from kaas.api.platform_users import KeyRefusedError, PlatformSilentError, PlatformUsers
from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Scope
from tests.support.devcloud import RunningCloud, devcloud_app
from thecloud.client import Client
from thecloud.settings import PlatformSettings

ANYBODY = Scope("tenant", "user", "member")
NO_ID = "0b9f6d3e-6a51-4f3b-8a8e-000000000000"


def settings_of(cloud: RunningCloud) -> PlatformSettings:
    return PlatformSettings(
        base_url=cloud.base_url, api_key=cloud.api_key, requests_per_s=10_000.0, burst=10_000, read_attempt_s=0.5
    )


@pytest.fixture(params=["strict", "extended"])
async def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunningCloud]:
    async with devcloud_app(tmp_path / "cloud", tier=request.param) as running:
        yield running


@contextlib.asynccontextmanager
async def accounts_of(cloud: RunningCloud) -> AsyncIterator[Accounts]:
    accounts = Accounts(settings_of(cloud), transport=cloud.transport)
    try:
        yield accounts
    finally:
        await accounts.aclose()


async def data_of(cloud: RunningCloud, path: str) -> Any:
    async with cloud.client() as http:
        return (await http.get(path)).json()["data"]


async def test_the_owner_of_a_tenant_is_its_admin(cloud):
    me, (tenant,) = await data_of(cloud, "/auth/me"), await data_of(cloud, "/tenants")
    async with accounts_of(cloud) as accounts:
        user = await accounts.look_up(cloud.api_key)
        scope = await PlatformUsers(accounts.look_up).authenticate(cloud.api_key, tenant_id="")
    assert (user.user_id, user.default_tenant_id) == (me["id"], tenant["id"])
    assert dict(user.tenants) == {tenant["id"]: True}
    assert (scope.tenant_id, scope.role) == (tenant["id"], "admin")


@pytest.mark.parametrize("key", ["thecloud_" + "0" * 32, "two words", "not\u00e4scii"])
async def test_a_key_that_nobody_has(cloud, key):
    async with accounts_of(cloud) as accounts:
        with pytest.raises(KeyRefusedError) as caught:
            await accounts.look_up(key)
    assert key not in str(caught.value)


async def test_a_platform_that_is_away_says_nothing_of_a_key(cloud):
    cloud.faults.add(Fault(Kind.ERROR_BEFORE, route="/auth/me", count=None))
    async with accounts_of(cloud) as accounts:
        with pytest.raises(PlatformSilentError):
            await accounts.look_up(cloud.api_key)


async def test_a_passing_fault_is_no_refusal(cloud):
    cloud.faults.add(Fault(Kind.UNAUTHORIZED, route="/auth/me"))
    async with accounts_of(cloud) as accounts:
        assert (await accounts.look_up(cloud.api_key)).tenants


async def test_the_range_of_a_vpc(cloud):
    async with Client(settings_of(cloud), transport=cloud.transport) as client:
        vpc = (await client.vpcs.list(deadline=asyncio.get_running_loop().time() + 20))[-1]
        networks = PlatformNetworks(client)
        assert await networks.range_of(ANYBODY, vpc.id) == vpc.cidr_block
        for name in (NO_ID, "no-id-at-all"):
            with pytest.raises(RequestError) as caught:
                await networks.range_of(ANYBODY, name)
            assert caught.value.code is Code.NOT_FOUND
        cloud.faults.add(Fault(Kind.UNAUTHORIZED, method="GET", count=None))
        with pytest.raises(RequestError) as caught:
            await networks.range_of(ANYBODY, vpc.id)
        assert caught.value.code is Code.PLATFORM_UNAVAILABLE


async def test_a_vpc_is_for_its_own_tenant_and_a_shared_one_for_everybody(cloud):
    async with Client(settings_of(cloud), transport=cloud.transport) as client:
        vpc = (await client.vpcs.list(deadline=asyncio.get_running_loop().time() + 20))[-1]
        (tenant,) = await data_of(cloud, "/tenants")
        owner, stranger = Scope(tenant["id"], "ada", "member"), Scope("another", "eve", "admin")
        told = PlatformNetworks(client, knows_tenants=True)
        assert await told.range_of(owner, vpc.id) == vpc.cidr_block
        with pytest.raises(RequestError) as refused:
            await told.range_of(stranger, vpc.id)
        with pytest.raises(RequestError) as absent:
            await told.range_of(stranger, NO_ID)
        assert refused.value.code is absent.value.code is Code.NOT_FOUND
        assert refused.value.message.replace(vpc.id, NO_ID) == absent.value.message
        shared = PlatformNetworks(client, shared=vpc.id, knows_tenants=True)
        assert await shared.range_of(stranger, vpc.id) == vpc.cidr_block
