"""Rows as the wire has them, per tier."""

import asyncio
from collections.abc import Sequence

import msgspec
from msgspec import UNSET

from devcloud.api import answers
from devcloud.cloud import Cloud
from devcloud.events import Event
from devcloud.groups import Group
from devcloud.rows import IN_USE, ZERO_TIME, ZERO_UUID, ApiKey, Health, Instance, Snapshot, Tenant, User, Volume
from devcloud.settings import GIB

NOOP_PATH = "vol-1"
"""Where the published platform's default storage says that every volume lies (platform contract 5.1)."""


async def view_volume(cloud: Cloud, volume: Volume) -> answers.VolumeView:
    """Give one volume as the wire has it."""
    return (await view_volumes(cloud, [volume]))[0]


async def view_volumes(cloud: Cloud, volumes: Sequence[Volume]) -> list[answers.VolumeView]:
    """Give volumes as the wire has them."""
    if cloud.is_strict:
        return [_view_strict_volume(volume) for volume in volumes]
    return list(await view_extended_volumes(cloud, volumes))


async def view_extended_volumes(cloud: Cloud, volumes: Sequence[Volume]) -> list[answers.VolumeViewExtended]:
    """Give volumes with the extensions; looks at the images in one go."""
    allocated = await asyncio.to_thread(lambda: [cloud.volumes.allocated_bytes(volume.serial) for volume in volumes])
    return [_view_extended_volume(volume, taken) for volume, taken in zip(volumes, allocated, strict=True)]


def view_snapshot(cloud: Cloud, row: Snapshot, *, is_new: bool = False) -> answers.SnapshotView:
    """Give a snapshot; the strict tier shows its tenant in the create answer only (platform contract 6)."""
    if not cloud.is_strict:
        return view_extended_snapshot(row)
    return answers.SnapshotView(
        id=row.id,
        user_id=row.user_id,
        tenant_id=row.tenant_id if is_new else UNSET,
        volume_id=row.volume_id,
        volume_name=row.volume_name,
        size_gb=row.size_gb,
        status=row.status,
        description=row.description or UNSET,
        created_at=row.created_at,
    )


def view_extended_snapshot(row: Snapshot) -> answers.SnapshotViewExtended:
    """Give a snapshot with the extensions."""
    return answers.SnapshotViewExtended(
        id=row.id,
        user_id=row.user_id,
        tenant_id=row.tenant_id,
        volume_id=row.volume_id,
        volume_name=row.volume_name,
        size_gb=row.size_gb,
        status=row.status,
        description=row.description or UNSET,
        created_at=row.created_at,
        name=row.name,
        tags=row.tags,
        group_id=row.group_id or UNSET,
        size_bytes=row.size_gb * GIB,
        zone=row.zone,
    )


def view_group(group: Group) -> answers.GroupView:
    """Give a group with its members."""
    row = group.row
    members = [view_extended_snapshot(snapshot) for snapshot in group.snapshots]
    return answers.GroupView(row.id, row.name, row.status, row.tags, row.created_at, members)


def view_instance(cloud: Cloud, row: Instance, public_ip: str = "") -> answers.InstanceView:
    """Give an instance; the strict tier's address carries a prefix length (platform contract 4.1)."""
    known = {
        name: value
        for name, value in msgspec.structs.asdict(row).items()
        if name in answers.InstanceView.__struct_fields__
    }
    if not cloud.is_strict:
        return answers.InstanceViewExtended(
            **known,
            hostname=row.hostname,
            zone=row.zone,
            region=cloud.settings.region,
            max_volumes=cloud.settings.max_volumes,
            public_ip=public_ip,
        )
    known["private_ip"] = f"{row.private_ip}/32" if row.private_ip else ""
    return answers.InstanceView(**known)


def view_user(row: User) -> answers.UserView:
    """Give a user; its tenant is always the zero uuid (platform contract 2.2)."""
    return answers.UserView(
        id=row.id,
        tenant_id=ZERO_UUID,
        default_tenant_id=row.default_tenant_id or ZERO_UUID,
        email=row.email,
        name=row.name,
        role=row.role,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def view_key(row: ApiKey, key: str | None = None) -> answers.KeyView:
    """Give an API key, with the key itself only where it was just made."""
    return answers.KeyView(
        id=row.id,
        user_id=row.user_id,
        tenant_id=row.tenant_id,
        name=row.name,
        created_at=row.created_at,
        last_used=ZERO_TIME,
        default_tenant_id=row.default_tenant_id or UNSET,
        key=key or UNSET,
    )


def view_tenant(row: Tenant) -> answers.TenantView:
    """Give a tenant."""
    return answers.TenantView(
        id=row.id,
        name=row.name,
        slug=row.slug,
        owner_id=row.owner_id,
        plan=row.plan,
        status=row.status,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def view_event(event: Event) -> answers.EventView:
    """Give an event of the list."""
    return answers.EventView(
        id=event.id,
        user_id=event.user_id,
        tenant_id=event.tenant_id,
        action=event.action,
        resource_id=event.resource_id,
        resource_type=event.resource_type,
        metadata=event.metadata,
        created_at=event.created_at,
    )


def _view_strict_volume(row: Volume) -> answers.VolumeView:
    return answers.VolumeView(
        id=row.id,
        user_id=row.user_id,
        tenant_id=row.tenant_id,
        name=row.name,
        size_gb=row.size_gb,
        status=row.status,
        instance_id=row.instance_id or UNSET,
        backend_path=NOOP_PATH,
        mount_path=row.mount_path or UNSET,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _view_extended_volume(row: Volume, allocated_bytes: int | None) -> answers.VolumeViewExtended:
    health = list(row.health)
    if allocated_bytes is None:
        health.append(Health("DATA_LOSS", "ImageMissing", "the volume's image is gone"))
    if row.status == IN_USE and row.instance_id is None:
        health.append(Health("INACCESSIBLE", "Wedged", "in use, but no instance is recorded; repair the row"))
    return answers.VolumeViewExtended(
        id=row.id,
        user_id=row.user_id,
        tenant_id=row.tenant_id,
        name=row.name,
        size_gb=row.size_gb,
        status=row.status,
        instance_id=row.instance_id or UNSET,
        mount_path=row.mount_path or UNSET,
        created_at=row.created_at,
        updated_at=row.updated_at,
        serial=row.serial,
        tags=row.tags,
        performance_class=row.performance_class,
        zone=row.zone,
        source_snapshot_id=row.source_snapshot_id or UNSET,
        source_volume_id=row.source_volume_id or UNSET,
        allocated_bytes=allocated_bytes or 0,
        read_only=row.read_only,
        health=health,
    )
