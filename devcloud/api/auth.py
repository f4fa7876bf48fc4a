"""Account, key and tenant routes, and the checks that every request of a known caller passes.

Belongs here: headers to an actor, translation of account requests. Does not: how keys and passwords are kept.
"""

import sqlite3

from starlette.datastructures import Headers

from devcloud import identity
from devcloud.api import answers, requests, views
from devcloud.api.call import Access, Call, Reply, Route
from devcloud.cloud import Actor
from devcloud.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    MalformedKeyError,
    MissingError,
    UnauthorizedError,
)
from devcloud.identity import Accounts
from devcloud.rows import API_KEYS, TENANTS, USERS, User
from devcloud.volumes import parse_uuid

NOBODY = Actor("", "", "")


async def identify(accounts: Accounts, headers: Headers, route: Route) -> Actor:
    """Give who calls, after the checks of the route's group in the platform's order (platform contract 1.11, 2.1).

    Raises UnauthorizedError, InvalidError, DeniedError.
    """
    if route.access is Access.OPEN:
        return NOBODY
    if headers.get("authorization", "").startswith("Bearer "):
        raise UnauthorizedError("invalid access token")
    key = headers.get("x-api-key", "")
    if not key:
        raise UnauthorizedError("API key or Bearer token required")
    asked = headers.get("x-tenant-id")
    asked_id = None if asked is None else parse_uuid(asked)
    account = await accounts.find(key, asked_id)
    if asked is not None:
        _check_asked_tenant(asked_id, account)
    if route.access is Access.MEMBER:
        _check_membership(account)
    if route.permission and not identity.allows(account.role or "", route.permission):
        raise DeniedError(f"permission denied: {route.permission}")
    return Actor(account.user_id, account.tenant_id, account.role or "")


async def register(call: Call, body: requests.Register) -> Reply:
    """POST /auth/register."""
    user = await call.accounts.register(body.email, body.name, body.password)
    return Reply(views.view_user(user), 201)


async def log_in(call: Call, body: requests.Login) -> Reply:
    """POST /auth/login."""
    user, key = await call.accounts.log_in(body.email, body.password)
    return Reply(answers.LoginView(views.view_user(user), key))


async def me(call: Call, _: None) -> Reply:
    """GET /auth/me."""
    user: User | None = await call.cloud.store.read(lambda db: USERS.get(db, call.actor.user_id))
    if user is None:
        raise MissingError("user", call.actor.user_id)
    return Reply(views.view_user(user))


async def create_key(call: Call, body: requests.KeyRequest) -> Reply:
    """POST /auth/keys."""
    row, key = await call.cloud.store.write(lambda db: identity.add_key(db, call.actor, body.name))
    return Reply(views.view_key(row, key), 201)


async def list_keys(call: Call, _: None) -> Reply:
    """GET /auth/keys."""
    user_id, copy = call.actor.user_id, call.scope.copy
    rows = await call.cloud.store.read(lambda db: API_KEYS.all(db, "user_id = ?", user_id), copy=copy)
    return Reply([views.view_key(row) for row in rows])


async def revoke_key(call: Call, _: None) -> Reply:
    """DELETE /auth/keys/{id}."""
    await identity.revoke(call.cloud, call.actor, _key_id(call))
    return Reply(status=204)


async def rotate_key(call: Call, _: None) -> Reply:
    """POST /auth/keys/{id}/rotate and /regenerate."""
    row, key = await identity.rotate(call.cloud, call.actor, _key_id(call))
    return Reply(views.view_key(row, key))


async def list_tenants(call: Call, _: None) -> Reply:
    """GET /tenants."""
    where = "id IN (SELECT tenant_id FROM members WHERE user_id = ?)"
    rows = await call.cloud.store.read(lambda db: TENANTS.all(db, where, call.actor.user_id))
    return Reply([views.view_tenant(row) for row in rows])


async def create_tenant(call: Call, body: requests.CreateTenant) -> Reply:
    """POST /tenants."""
    try:
        row = await call.cloud.store.write(
            lambda db: identity.add_tenant(db, call.actor.user_id, name=body.name, slug=body.slug)
        )
    except sqlite3.IntegrityError as error:
        raise ConflictError("tenant slug is taken") from error
    return Reply(views.view_tenant(row), 201)


async def add_member(call: Call, body: requests.AddMember) -> Reply:
    """POST /tenants/{id}/members."""
    await identity.add_member(call.cloud, call.actor, _tenant_id(call), body.email, body.role)
    return Reply(answers.Message("member added"))


async def switch_tenant(call: Call, _: None) -> Reply:
    """POST /tenants/{id}/switch."""
    await identity.switch_tenant(call.cloud, call.actor, _tenant_id(call))
    return Reply(answers.Message("tenant switched"))


def _check_asked_tenant(asked_id: str | None, account: identity.Account) -> None:
    if asked_id is None:
        raise InvalidError("invalid tenant ID header")
    if account.role is None:
        raise DeniedError("user is not a member of this tenant")


def _check_membership(account: identity.Account) -> None:
    if not account.tenant_id:
        raise InvalidError("X-Tenant-ID header required or default tenant not set")
    if account.role is None:
        raise DeniedError("not a member of this tenant")


def _tenant_id(call: Call) -> str:
    tenant_id = parse_uuid(call.ref)
    if tenant_id is None:
        raise InvalidError("invalid tenant ID")
    return tenant_id


def _key_id(call: Call) -> str:
    """Give the key id of the path; the strict tier answers anything but a uuid with 500 raw (contract 1.4)."""
    key_id = parse_uuid(call.ref)
    if key_id is None:
        raise MalformedKeyError("invalid key ID")
    return key_id
