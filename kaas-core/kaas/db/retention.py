"""Taking away what nobody needs any more. What is under way stays, and so does what its cluster still goes by."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Delete, Table, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import clock, tables
from kaas.db.session import Database
from kaas.domain.states import NodeState, RefState

_PORTION = 1000
_REMEMBERED_S = 24 * 3600.0
"""Nodes that are gone are kept so long at least: repairs count how many there were lately."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went."""

    events: int = 0
    idempotency_keys: int = 0
    boot_tokens: int = 0
    operations: int = 0
    """Each with its ledger."""
    nodes: int = 0
    references: int = 0
    audit: int = 0
    kubeconfigs: int = 0


class Retention:
    """Prunes the tables; any number of processes may at one time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prune(self, *, older_than_s: float, audit_older_than_s: float | None = None) -> Pruned:
        """Remove what ended so long ago: events, operations, keys of operations, boot tokens, nodes that are gone.

        Who asked for what, and who was given access, is removed after `audit_older_than_s`; None: never.
        """
        before, forgotten = clock.after(-older_than_s), clock.after(-max(older_than_s, _REMEMBERED_S))
        key, token = tables.idempotency_key.c, tables.boot_token.c
        node, ref, operation = tables.node.c, tables.external_ref.c, tables.operation.c
        running = select(operation.uuid).where(operation.active_cluster_id.is_not(None))
        busy = select(operation.active_cluster_id).where(operation.active_cluster_id.is_not(None))
        return Pruned(
            events=await self._portions(tables.event, tables.event.c.id, tables.event.c.created_at < before),
            idempotency_keys=await self._rows(
                delete(tables.idempotency_key).where(key.created_at < before, key.operation_id.not_in(running))
            ),
            boot_tokens=await self._rows(delete(tables.boot_token).where(token.expires_at < before)),
            operations=await self._portions(tables.operation, operation.id, operation.finished_at < before),
            nodes=await self._portions(
                tables.node,
                node.uuid,
                node.state == NodeState.GONE,
                node.updated_at < forgotten,
                node.cluster_id.not_in(busy),
            ),
            references=await self._portions(
                tables.external_ref,
                ref.uuid,
                ref.state == RefState.GONE,
                ref.updated_at < forgotten,
                ref.cluster_id.not_in(busy),
            ),
            **({} if audit_older_than_s is None else await self._audit(clock.after(-audit_older_than_s))),
        )

    async def _audit(self, before: clock.Moment) -> dict[str, int]:
        audit, issue = tables.audit.c, tables.kubeconfig_issue.c
        return {
            "audit": await self._portions(tables.audit, audit.id, audit.created_at < before),
            # Not before what was issued has ended too.
            "kubeconfigs": await self._portions(tables.kubeconfig_issue, issue.id, issue.not_after < before),
        }

    async def _portions(self, table: Table, key: Column[Any], *conditions: ColumnElement[bool]) -> int:
        """Remove rows in portions: who writes meanwhile, conductors that renew a lease above all, waits for one."""
        gone = 0

        async def work(connection: AsyncConnection) -> int:
            found = (await connection.scalars(select(key).where(*conditions).limit(_PORTION))).all()
            if found:
                await connection.execute(delete(table).where(key.in_(found)))
            return len(found)

        while portion := await self._database.write(work):
            gone += portion
            if portion < _PORTION:
                break
        return gone

    async def _rows(self, statement: Delete) -> int:
        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        return await self._database.write(work)
