"""What a change makes of a cluster: the part that a user's request and a conductor's own repair have in common."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import clusters, events, nodes, operations, quotas
from kaas.domain.model import Cluster, Operation
from kaas.domain.states import OperationKind, OperationState
from kaas.domain.store import Accepted, Amounts, Change


async def write(
    connection: AsyncConnection,
    cluster: Cluster,
    change: Change,
    now: datetime,
    *,
    counters: Mapping[str, object],
    requested_by: str,
    request_id: str = "",
    reason: str = "",
    quota_defaults: Mapping[str, int],
) -> Accepted:
    """Write the cluster as it is after the change, with nodes, operation, reservation and events.

    The tenant and the cluster are locked, and no operation of the cluster runs. `reason` is that of its status, where
    there is one still. Raises RequestError (QUOTA).
    """
    operation = Operation(
        id=str(uuid.uuid4()),
        cluster_id=cluster.id,
        kind=change.kind,
        state=OperationState.PENDING,
        generation=cluster.generation,
        requested_by=requested_by,
        request_id=request_id,
        created_at=now,
        updated_at=now,
        deadline=now + timedelta(seconds=change.deadline_s),
        arguments=change.arguments,
    )
    changed = replace(cluster, spec=change.spec, status_reason=reason, updated_at=now)
    if uses_quota(change):
        await quotas.reserve(
            connection,
            cluster.tenant_id,
            cluster.id,
            change.usage,
            operation_id=operation.id,
            defaults=quota_defaults,
        )
    after = await nodes.add(connection, changed, change.add, dict(counters), now)
    await nodes.let_leave(connection, cluster.id, change.leave, now)
    await nodes.write_groups(connection, changed, now)
    await clusters.rewrite(connection, changed, after)
    await operations.insert(connection, cluster.tenant_id, operation)
    await events.add(
        connection,
        cluster.tenant_id,
        cluster.id,
        change.events,
        now,
        operation_id=operation.id,
        actor=requested_by,
    )
    return Accepted(cluster=changed, operation=operation)


def uses_quota(change: Change) -> bool:
    """Tell whether a change sets what its cluster may use.

    What is being deleted uses it until its row goes; a change that names no amounts leaves them as they are.
    """
    return change.kind is not OperationKind.DELETE and change.usage != Amounts()
