"""Who may come in, how much tenants may use, and which conductors work, for who runs the service.

The commands `kaas user add`, `kaas quota` and `kaas conductors`.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kaas.api.static_users import StaticUsers, hash_key
from kaas.crypto.files import write_private
from kaas.db.conductors import Conductor
from kaas.db.store import Store, open_store
from kaas.domain.errors import StoreUnavailableError
from kaas.domain.policy import Role
from kaas.option_kinds import Pairs
from kaas.unfit import UnfitError

_KEY_BYTES = 32
_NONE = "none"
_MOST = 10**12

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may come in."""

    id: str
    tenant: str
    role: Role


def add(path: Path, person: Person) -> str:
    """Write somebody into the file of users, which is made when there is none, and give their new key.

    Raises UnfitError when they are there already or the file is wrong, OSError. Comments in the file are lost.
    """
    users = _read(path)
    if any(user["id"] == person.id for user in users):
        raise UnfitError(f"{path} has a user {person.id} already; choose another --user, or take the entry out first")
    key = f"kaas_{secrets.token_urlsafe(_KEY_BYTES)}"
    users.append({"id": person.id, "key_sha256": hash_key(key), "tenants": {person.tenant: person.role.value}})
    write_private(path, msgspec.yaml.encode({"users": users}))
    return key


async def limit(database: str, tenant: str, limits: Pairs) -> str:
    """Set limits of a tenant by resource, and say what it may use and uses. Raises UnfitError, KaasError.

    What is in use already is not touched.
    """
    wanted = {name: _number(name, text) for name, text in limits}

    async def work(store: Store) -> str:
        if wanted:
            await store.tenants.set_limits(tenant, wanted)
        allowed, used = await store.tenants.limits(tenant), asdict(await store.tenants.usage(tenant))
        rows = [f"  {name:<10} {used[name]} of {allowed.get(name, 'any number')}" for name in used]
        return "\n".join([f"tenant {tenant} uses", *rows])

    return await _with_store(database, work)


async def conductors(database: str) -> str:
    """Say which conductors there are. Raises UnfitError."""

    async def work(store: Store) -> str:
        rows = [f"  {one.id:<40} {one.version:<10} {_condition(one)}" for one in await store.conductors.list()]
        return "\n".join(["conductors, and when each was last seen:", *rows]) if rows else "there is no conductor"

    return await _with_store(database, work)


async def disable(database: str, conductor: str, reason: str) -> str:
    """Let a conductor claim no more clusters. Raises UnfitError, RequestError (NOT_FOUND)."""
    await _with_store(database, lambda store: store.conductors.disable(conductor, reason))
    return f"{conductor} takes no more clusters; those that it has, it brings to where they can be given back"


async def enable(database: str, conductor: str) -> str:
    """Let a conductor claim clusters again. Raises UnfitError, RequestError (NOT_FOUND)."""
    await _with_store(database, lambda store: store.conductors.enable(conductor))
    return f"{conductor} takes clusters again"


async def _with_store(database: str, work: Callable[[Store], Awaitable[Result]]) -> Result:
    store = open_store(database)
    try:
        return await work(store)
    except StoreUnavailableError as error:
        raise UnfitError(str(error)) from error
    finally:
        await store.close()


def _condition(one: Conductor) -> str:
    seen = f"{one.silent_s:.0f} s ago"
    return f"{seen}, disabled{f': {one.disabled_reason}' if one.disabled_reason else ''}" if one.disabled else seen


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        StaticUsers(path)
        found: list[dict[str, Any]] = msgspec.yaml.decode(path.read_bytes())["users"]
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise UnfitError(f"nobody is added, since the file is wrong: {error}") from error
    return found


def _number(name: str, text: str) -> int | None:
    if text == _NONE:
        return None
    if not (text.isascii() and text.isdigit() and int(text) <= _MOST):
        raise UnfitError(f"--limits: {name}={text[:40]!r} is neither a number up to {_MOST} nor `{_NONE}`")
    return int(text)
