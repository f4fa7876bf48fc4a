"""What a new platform starts with: a user, its tenant, an API key, and the instances that are this machine."""

import asyncio
import os
import socket
import sqlite3
from pathlib import Path

from devcloud import identity, vpcs
from devcloud.addresses import next_address
from devcloud.cloud import Actor, Cloud
from devcloud.rows import API_KEYS, INSTANCES, RUNNING, USERS, ApiKey, Instance, new_id
from devcloud.settings import Backend, HostInstance, Settings

SEED_EMAIL = "admin@devcloud.invalid"


async def seed(cloud: Cloud) -> str:
    """Make what is missing and give the key that lies in the key file.

    The file comes before the row: after a crash in between, the next start takes the key from the file.
    """
    key = await asyncio.to_thread(_read_or_write_key, cloud.settings.api_key_path)
    await cloud.store.write(lambda db: _seed_rows(db, cloud.settings, key))
    return key


def _seed_rows(db: sqlite3.Connection, settings: Settings, key: str) -> None:
    user = USERS.one(db, "email = ?", SEED_EMAIL)
    if user is None:
        user = identity.add_user(db, SEED_EMAIL, "devcloud", password_hash="")
        API_KEYS.insert(
            db,
            ApiKey(
                id=new_id(),
                user_id=user.id,
                tenant_id=str(user.default_tenant_id),
                default_tenant_id=user.default_tenant_id,
                name="Default Key",
                key_hash=identity.hash_key(key),
            ),
        )
    vpc = vpcs.ensure_default(db, Actor(user.id, str(user.default_tenant_id)), str(settings.network))
    for wanted in _seeded(settings):
        if INSTANCES.one(db, "name = ? AND tenant_id = ?", wanted.name, str(user.default_tenant_id)) is None:
            INSTANCES.insert(
                db,
                Instance(
                    id=new_id(),
                    user_id=user.id,
                    tenant_id=str(user.default_tenant_id),
                    name=wanted.name,
                    hostname=wanted.name,
                    image="this-machine",
                    status=RUNNING,
                    private_ip=next_address(db, settings.network, settings.lb_range),
                    vpc_id=vpc.id,
                    zone=wanted.zone or settings.zones[0],
                ),
            )


def _seeded(settings: Settings) -> tuple[HostInstance, ...]:
    """Give the instances that this machine is; none where instances are machines of their own."""
    if settings.backend is Backend.NSPAWN:
        return ()
    return settings.host_instances or (HostInstance(socket.gethostname()),)


def _read_or_write_key(path: Path) -> str:
    if path.exists():
        found = path.read_text().strip()
        if identity.is_key(found):
            return found
    key = identity.new_key()
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, key.encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    part.rename(path)
    return key
