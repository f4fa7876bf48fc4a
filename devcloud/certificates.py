"""Certificates that load balancers end TLS with: keep, find, delete.

Belongs here: what a certificate has to be, and what is told of it. Does not: who shows it (`balancing/`). A private key
is stored and given to the proxies; no answer and no message has it.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from devcloud import events, x509
from devcloud.cloud import Actor, Cloud, Scope
from devcloud.errors import InUseError, InvalidError, KeyReusedError, MissingError, NameTakenError
from devcloud.network_rows import BALANCERS, CERTIFICATES, Certificate
from devcloud.rows import new_id
from devcloud.volumes import Filter, carries, check_guard, parse_uuid, request_hash

CERTIFICATE = "certificate"


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """What a caller hands over."""

    name: str
    certificate_pem: str = field(repr=False)
    private_key_pem: str = field(repr=False)
    tags: dict[str, str] = field(default_factory=dict)
    idem_key: str | None = None


def find(db: sqlite3.Connection, actor: Actor, ref: str) -> Certificate:
    """Give a tenant's certificate by id; raises MissingError."""
    found = CERTIFICATES.one(db, "id = ? AND tenant_id = ?", parse_uuid(ref), actor.tenant_id)
    if found is None:
        raise MissingError(CERTIFICATE, ref)
    return found


async def get(cloud: Cloud, scope: Scope, ref: str) -> Certificate:
    """Give one certificate; raises MissingError."""
    return await cloud.store.read(lambda db: find(db, scope.actor, ref), copy=scope.copy)


async def list_all(cloud: Cloud, scope: Scope, wanted: Filter) -> list[Certificate]:
    """Give the tenant's certificates that fit, newest first."""
    found = await cloud.store.read(
        lambda db: CERTIFICATES.all(db, "tenant_id = ?", scope.actor.tenant_id), copy=scope.copy
    )
    return [one for one in found if wanted.name in {"", one.name} and carries(one.tags, wanted.tags)]


async def create(cloud: Cloud, actor: Actor, new: NewCertificate) -> Certificate:
    """Keep a certificate with its key; the same key and request again gives the same one.

    Raises InvalidError for what TLS cannot use, NameTakenError, KeyReusedError.
    """
    try:
        seen = await asyncio.to_thread(x509.look_at, new.certificate_pem, new.private_key_pem)
    except x509.UnusableError as error:
        raise InvalidError(str(error)) from error
    asked = request_hash({**asdict(new), "idem_key": None})

    def work(db: sqlite3.Connection) -> Certificate:
        if new.idem_key is not None:
            made = CERTIFICATES.one(db, "tenant_id = ? AND idem_key = ?", actor.tenant_id, new.idem_key)
            if made is not None and made.idem_hash != asked:
                raise KeyReusedError(CERTIFICATE, new.idem_key)
            if made is not None:
                return made
        if CERTIFICATES.one(db, "tenant_id = ? AND name = ?", actor.tenant_id, new.name) is not None:
            raise NameTakenError(CERTIFICATE, new.name)
        made = CERTIFICATES.insert(
            db,
            Certificate(
                id=new_id(),
                user_id=actor.user_id,
                tenant_id=actor.tenant_id,
                name=new.name,
                certificate_pem=new.certificate_pem,
                private_key_pem=new.private_key_pem,
                fingerprint_sha256=seen.fingerprint_sha256,
                not_after=seen.not_after,
                dns_names=list(seen.dns_names),
                tags={key: value for key, value in new.tags.items() if value},
                idem_key=new.idem_key,
                idem_hash=asked if new.idem_key else "",
            ),
        )
        _record(db, made, "certificate.created")
        return made

    made = await cloud.store.write(work)
    cloud.hub.wake()
    return made


async def delete(cloud: Cloud, actor: Actor, ref: str, guard: Sequence[str] = ()) -> None:
    """Forget a certificate; raises MissingError, GuardError, InUseError while a listener has it."""

    def work(db: sqlite3.Connection) -> None:
        found = find(db, actor, ref)
        check_guard(CERTIFICATE, found.id, found.tags, guard)
        for balancer in BALANCERS.all(db, "tenant_id = ?", actor.tenant_id):
            for group in balancer.groups:
                if any(found.id in listener.certificate_ids for listener in group.listeners):
                    raise InUseError(CERTIFICATE, found.id, f"load balancer {balancer.id}, group {group.name}")
        CERTIFICATES.delete(db, found.id)
        _record(db, found, "certificate.deleted")

    await cloud.store.write(work)
    cloud.hub.wake()


def _record(db: sqlite3.Connection, row: Certificate, kind: str) -> None:
    events.record(
        db,
        user_id=row.user_id,
        tenant_id=row.tenant_id,
        resource_id=row.id,
        resource_type=CERTIFICATE,
        kind=kind,
        name=row.name,
    )
