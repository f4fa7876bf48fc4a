"""What the API asks the platform: who a caller is, and which networks there are.

Kubeconfigs and SSH keys are `kaas.api.sealed_access`, callers from a file `kaas.api.static_users`.
"""

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import AsyncIterator

import msgspec

from kaas.api.platform_users import KeyRefusedError, PlatformSilentError, PlatformUser
from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Scope
from process.request import request_id
from thecloud.budget import Budget, BudgetedExchange
from thecloud.call import Call, Exchange, Repeat, decoder_of, read_list, read_object
from thecloud.client import Client
from thecloud.credentials import FixedKey
from thecloud.errors import KeyUnusable, PlatformError, Unauthorized
from thecloud.network_wire import Vpc
from thecloud.presence import Gone
from thecloud.retry import RetryingExchange
from thecloud.settings import PlatformSettings
from thecloud.transport import HttpExchange, TransportBase, ignore, open_http

_LIMIT_S = 10.0
_NO_ID = "00000000-0000-0000-0000-000000000000"


class _Me(msgspec.Struct, frozen=True):
    id: str
    role: str = ""
    default_tenant_id: str | None = None


class _Tenant(msgspec.Struct, frozen=True):
    id: str
    owner_id: str = ""


_ME = decoder_of(_Me)
_TENANTS = decoder_of(tuple[_Tenant, ...])


class Accounts:
    """Asks the platform who has a key, with that very key (`kaas.api.platform_users.LookUp`)."""

    def __init__(self, settings: PlatformSettings, *, transport: TransportBase | None = None) -> None:
        # In the caller's own default tenant, whichever the service itself works in.
        self._settings = dataclasses.replace(settings, tenant_id="")
        self._http = open_http(self._settings, transport)
        self._budget = Budget(rate_per_s=settings.requests_per_s, burst=settings.burst)
        self._tells_progress = transport is None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def look_up(self, key: str) -> PlatformUser:
        """Give whose key it is. Raises KeyRefusedError, PlatformSilentError."""
        deadline = asyncio.get_running_loop().time() + _LIMIT_S
        try:
            exchange = self._exchange(key)
            me_call = _read("/auth/me", deadline)
            me = read_object(_ME, me_call, await exchange.send(me_call))
            tenants_call = _read("/tenants", deadline)
            tenants = read_list(_TENANTS, tenants_call, await exchange.send(tenants_call))
        except (Unauthorized, KeyUnusable) as error:
            # No cause: a library's words about a key that cannot be a header would show it.
            raise KeyRefusedError(str(error)) from None
        except PlatformError as error:
            raise PlatformSilentError(str(error)) from error
        default = me.default_tenant_id or ""
        return PlatformUser(
            user_id=me.id,
            role=me.role,
            default_tenant_id="" if default == _NO_ID else default,
            tenants={tenant.id: tenant.owner_id == me.id for tenant in tenants},
        )

    def _exchange(self, key: str) -> Exchange:
        bare = HttpExchange(
            self._http,
            self._settings,
            key=FixedKey(key),
            request_id=request_id.get,
            observer=ignore,
            tells_progress=self._tells_progress,
        )
        return RetryingExchange(BudgetedExchange(bare, self._budget), jitter=random.random)


@contextlib.asynccontextmanager
async def open_accounts(settings: PlatformSettings) -> AsyncIterator[Accounts]:
    """Give the platform's accounts, and close the connections afterwards."""
    accounts = Accounts(settings)
    try:
        yield accounts
    finally:
        await accounts.aclose()


class PlatformNetworks:
    """`kaas.api.ports.Networks`: the VPCs of the tenant that clusters are made in, whoever asks for them.

    `shared` is the VPC that everybody may use because the operator says so. Any other one may be used by callers of the
    tenant that the platform says it is of; `knows_tenants` is False where callers' tenants are none of the platform's.
    """

    def __init__(self, client: Client, *, shared: str = "", knows_tenants: bool = False) -> None:
        self._client = client
        self._shared = shared
        self._knows_tenants = knows_tenants

    async def range_of(self, scope: Scope, vpc_id: str) -> str:
        """Give the range of a VPC. Raises RequestError."""
        deadline = asyncio.get_running_loop().time() + _LIMIT_S
        try:
            found = await self._client.vpcs.get(vpc_id, deadline=deadline)
        except PlatformError as error:
            raise RequestError(
                Code.PLATFORM_UNAVAILABLE, f"the platform does not say whether there is a VPC {vpc_id[:64]}; try again"
            ) from error
        if isinstance(found, Gone) or not self._may_use(scope, found):
            raise RequestError(Code.NOT_FOUND, f"vpc {vpc_id[:64]} not found")
        return found.cidr_block

    def _may_use(self, scope: Scope, vpc: Vpc) -> bool:
        if not self._knows_tenants or vpc.id == self._shared or (vpc.tenant_id or _NO_ID) == _NO_ID:
            return True
        return vpc.tenant_id == scope.tenant_id


def _read(path: str, deadline: float) -> Call:
    return Call(method="GET", route=path, path=path, deadline=deadline, repeat=Repeat.SAFE)
