"""Ssh key and image routes."""

import base64
import binascii
import hashlib
import sqlite3

from devcloud.api import requests
from devcloud.api.call import Call, Reply
from devcloud.api.instances import uuid_or_invalid
from devcloud.errors import ConflictError, InvalidError, MissingError
from devcloud.rows import IMAGES, SSH_KEYS, Image, SshKey, new_id


async def create_ssh_key(call: Call, body: requests.CreateSshKey) -> Reply:
    """POST /ssh-keys."""
    row = SshKey(
        id=new_id(),
        user_id=call.actor.user_id,
        tenant_id=call.actor.tenant_id,
        name=body.name,
        public_key=body.public_key,
        fingerprint=_fingerprint(body.public_key),
    )
    try:
        await call.cloud.store.write(lambda db: SSH_KEYS.insert(db, row))
    except sqlite3.IntegrityError as error:
        raise ConflictError("an ssh key with this name exists") from error
    return Reply(row, 201)


async def list_ssh_keys(call: Call, _: None) -> Reply:
    """GET /ssh-keys."""
    tenant_id, copy = call.actor.tenant_id, call.scope.copy
    return Reply(await call.cloud.store.read(lambda db: SSH_KEYS.all(db, "tenant_id = ?", tenant_id), copy=copy))


async def get_ssh_key(call: Call, _: None) -> Reply:
    """GET /ssh-keys/{id}."""
    return Reply(await _find_ssh_key(call))


async def delete_ssh_key(call: Call, _: None) -> Reply:
    """DELETE /ssh-keys/{id}."""
    found = await _find_ssh_key(call)
    await call.cloud.store.write(lambda db: SSH_KEYS.delete(db, found.id))
    return Reply(status=204)


async def create_image(call: Call, body: requests.CreateImage) -> Reply:
    """POST /images."""
    row = Image(
        id=new_id(),
        user_id=call.actor.user_id,
        tenant_id=call.actor.tenant_id,
        name=body.name,
        description=body.description,
        os=body.os,
        version=body.version,
        is_public=body.is_public,
    )
    return Reply(await call.cloud.store.write(lambda db: IMAGES.insert(db, row)), 201)


async def list_images(call: Call, _: None) -> Reply:
    """GET /images."""
    where = "user_id = ? OR is_public"
    return Reply(await call.cloud.store.read(lambda db: IMAGES.all(db, where, call.actor.user_id)))


async def get_image(call: Call, _: None) -> Reply:
    """GET /images/{id}."""
    return Reply(await _find_image(call))


async def delete_image(call: Call, _: None) -> Reply:
    """DELETE /images/{id}."""
    found = await _find_image(call)
    await call.cloud.store.write(lambda db: IMAGES.delete(db, found.id))
    return Reply(status=204)


async def _find_ssh_key(call: Call) -> SshKey:
    key_id = uuid_or_invalid(call.ref, "id")
    where = "id = ? AND tenant_id = ?"
    tenant_id, copy = call.actor.tenant_id, call.scope.copy
    found = await call.cloud.store.read(lambda db: SSH_KEYS.one(db, where, key_id, tenant_id), copy=copy)
    if found is None:
        raise MissingError("ssh_key", call.ref)
    return found


async def _find_image(call: Call) -> Image:
    image_id = uuid_or_invalid(call.ref, "id")
    where = "id = ? AND (user_id = ? OR is_public)"
    found = await call.cloud.store.read(lambda db: IMAGES.one(db, where, image_id, call.actor.user_id))
    if found is None:
        raise MissingError("image", call.ref)
    return found


def _fingerprint(public_key: str) -> str:
    """Give the fingerprint of an OpenSSH public key; raises InvalidError for anything else."""
    words = public_key.split()
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error) as error:
        raise InvalidError("invalid public key: an OpenSSH public key is needed") from error
    length = int.from_bytes(blob[:4])
    if blob[4 : 4 + length] != words[0].encode():
        raise InvalidError("invalid public key: its type and its content differ")
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
