"""Operations and their ledgers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import tables
from kaas.db.rows import operation_of, step_of
from kaas.domain.errors import Code, Problem, RequestError
from kaas.domain.model import Operation, StepRecord
from kaas.domain.states import FINAL, OperationState, StepState

NEWEST = 1000
"""So many operations are given at once when nobody says how many."""

_OPERATION, _STEP = tables.operation.c, tables.operation_step.c


async def insert(connection: AsyncConnection, tenant_id: str, operation: Operation) -> None:
    """Write a new operation; the table refuses a second one that is not ended."""
    await connection.execute(
        tables.operation.insert().values(
            uuid=operation.id,
            project_id=tenant_id,
            cluster_id=operation.cluster_id,
            active_cluster_id=operation.cluster_id,
            kind=operation.kind,
            state=operation.state,
            cancel_requested=operation.cancel_requested,
            progress=operation.progress,
            generation=operation.generation,
            requested_by=operation.requested_by,
            request_id=operation.request_id,
            arguments=operation.arguments,
            deadline=operation.deadline,
            error_code=operation.error_code,
            error=operation.error,
            created_at=operation.created_at,
            updated_at=operation.updated_at,
        )
    )


async def newest(
    connection: AsyncConnection, tenant_id: str, cluster_id: str = "", *, marker: str = "", limit: int | None = None
) -> Sequence[Operation]:
    """Give a tenant's operations, newest first, of one cluster or of all, after that of the id `marker`.

    Raises RequestError (INVALID) when the tenant has no operation of that id.
    """
    conditions = [_OPERATION.project_id == tenant_id]
    if cluster_id:
        conditions.append(_OPERATION.cluster_id == cluster_id)
    if marker:
        this = select(_OPERATION.id).where(_OPERATION.uuid == marker, _OPERATION.project_id == tenant_id)
        place = await connection.scalar(this)
        if place is None:
            problem = Problem("marker", "there is no operation of this id (any more); begin again without a marker")
            raise RequestError(Code.INVALID, f"marker: {problem.message}", problems=(problem,))
        conditions.append(_OPERATION.id < place)
    query = select(tables.operation).where(*conditions).order_by(_OPERATION.id.desc())
    return tuple(map(operation_of, await connection.execute(query.limit(min(limit or NEWEST, NEWEST + 1)))))


async def must_find(connection: AsyncConnection, tenant_id: str, operation_id: str) -> Operation:
    """Give a tenant's operation. Raises RequestError (NOT_FOUND)."""
    mine = select(tables.operation).where(_OPERATION.uuid == operation_id, _OPERATION.project_id == tenant_id)
    row = (await connection.execute(mine)).first()
    if row is None:
        raise RequestError(Code.NOT_FOUND, f"there is no operation {operation_id!r}; `cloud k8s operations` shows all")
    return operation_of(row)


async def active(connection: AsyncConnection, cluster_id: str) -> Operation | None:
    """Give the operation of a cluster that is not ended."""
    row = (await connection.execute(select(tables.operation).where(_OPERATION.active_cluster_id == cluster_id))).first()
    return None if row is None else operation_of(row)


async def last(connection: AsyncConnection, cluster_id: str) -> Operation | None:
    """Give the newest operation of any tenant's cluster."""
    query = select(tables.operation).where(_OPERATION.cluster_id == cluster_id)
    row = (await connection.execute(query.order_by(_OPERATION.id.desc()).limit(1))).first()
    return None if row is None else operation_of(row)


async def ask_to_end(connection: AsyncConnection, operation: Operation, now: datetime) -> Operation:
    """Write that an operation is to end at its next step boundary."""
    statement = update(tables.operation).where(_OPERATION.uuid == operation.id)
    await connection.execute(statement.values(cancel_requested=True, updated_at=now))
    return replace(operation, cancel_requested=True, updated_at=now)


async def move(
    connection: AsyncConnection,
    cluster_id: str,
    operation_id: str,
    state: OperationState,
    now: datetime,
    *,
    error_code: str = "",
    error: str = "",
) -> bool:
    """Write where an operation of a cluster is; an ended one stays as it is, and False says so."""
    values: dict[str, object] = {"state": state, "error_code": error_code, "error": error, "updated_at": now}
    if state in FINAL:
        values |= {"active_cluster_id": None, "finished_at": now}
    running = (_OPERATION.uuid == operation_id, _OPERATION.active_cluster_id == cluster_id)
    return (await connection.execute(update(tables.operation).where(*running).values(values))).rowcount == 1


async def come_on(connection: AsyncConnection, operation_id: str, progress: int) -> None:
    """Write how far an operation is, unless it was as far already."""
    further = (_OPERATION.uuid == operation_id, _OPERATION.progress < progress)
    await connection.execute(update(tables.operation).where(*further).values(progress=progress))


async def steps(connection: AsyncConnection, operation_id: str) -> Sequence[StepRecord]:
    """Give the ledger of an operation, in the order in which its steps began."""
    query = select(tables.operation_step).where(_STEP.operation_id == operation_id)
    return tuple(map(step_of, await connection.execute(query.order_by(_STEP.seq))))


async def begin_step(
    connection: AsyncConnection, operation_id: str, key: str, inputs_hash: str, now: datetime
) -> StepRecord:
    """Write the next try of a step. Other inputs make it start anew, as far as its time is concerned."""
    row = await _find_step(connection, operation_id, key)
    if row is None:
        query = select(func.coalesce(func.max(_STEP.seq), 0) + 1).where(_STEP.operation_id == operation_id)
        seq = int(await connection.scalar(query) or 1)
        begun = StepRecord(operation_id, key, seq, StepState.RUNNING, 1, inputs_hash, {}, started_at=now)
        await connection.execute(tables.operation_step.insert().values(_columns(begun)))
        return begun
    before = step_of(row)
    begun = replace(
        before,
        state=StepState.RUNNING,
        attempt=before.attempt + 1,
        inputs_hash=inputs_hash,
        started_at=before.started_at if before.inputs_hash == inputs_hash else now,
        finished_at=None,
        next_try_at=None,
        error_code="",
        error="",
    )
    await _write_step(connection, begun, attempt=before.attempt)
    return begun


async def end_step(
    connection: AsyncConnection,
    step: StepRecord,
    state: StepState,
    now: datetime,
    *,
    result: Mapping[str, object] | None,
    error_code: str,
    error: str,
    retry_in_s: float | None,
) -> StepRecord | None:
    """Write how a try of a step ended; None when a later try has begun."""
    ended = replace(
        step,
        state=state,
        result=step.result if result is None else result,
        finished_at=now if state in {StepState.DONE, StepState.FAILED} else None,
        next_try_at=None if retry_in_s is None else now + timedelta(seconds=retry_in_s),
        error_code=error_code,
        error=error,
    )
    return ended if await _write_step(connection, ended, attempt=step.attempt) else None


async def _find_step(connection: AsyncConnection, operation_id: str, key: str) -> Row[Any] | None:
    query = select(tables.operation_step).where(_STEP.operation_id == operation_id, _STEP.key == key)
    return (await connection.execute(query)).first()


async def _write_step(connection: AsyncConnection, step: StepRecord, *, attempt: int) -> bool:
    this = (_STEP.operation_id == step.operation_id, _STEP.key == step.key, _STEP.attempt == attempt)
    done = await connection.execute(update(tables.operation_step).where(*this).values(_columns(step)))
    return done.rowcount == 1


def _columns(step: StepRecord) -> dict[str, object]:
    return {
        "operation_id": step.operation_id,
        "key": step.key,
        "seq": step.seq,
        "state": step.state,
        "attempt": step.attempt,
        "inputs_hash": step.inputs_hash,
        "result": step.result,
        "started_at": step.started_at,
        "finished_at": step.finished_at,
        "next_try_at": step.next_try_at,
        "error_code": step.error_code,
        "error": step.error,
    }
