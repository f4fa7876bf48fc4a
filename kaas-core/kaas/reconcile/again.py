"""A delete that failed is begun again, with pauses that grow, until the cluster is gone.

Each is an operation of its own with a new ledger, so that the reason of every one can be read later.
"""

import logging
from datetime import datetime, timedelta

from kaas.domain.model import Event, Lease, Operation, Snapshot
from kaas.domain.states import OperationKind, OperationState
from kaas.domain.store import Change, Conducting

_log = logging.getLogger(__name__)

ATTEMPT = "attempt"
"""Argument of a delete that we began ourselves: how many before it failed."""
DELETED_AGAIN = "DELETE_AGAIN"
FIRST_S = 60.0
LONGEST_S = 3600.0
_DOUBLINGS = 16
_REQUESTED_BY = "conductor"


def is_failed_delete(operation: Operation | None) -> bool:
    """Tell whether the newest operation of a cluster is a delete that has to be begun again."""
    return operation is not None and operation.kind is OperationKind.DELETE and operation.state is OperationState.FAILED


def pause_s(failed: int) -> float:
    """Give the time from the end of a delete to the next one, when so many have failed by then."""
    return min(LONGEST_S, FIRST_S * 2.0 ** min(max(failed, 1) - 1, _DOUBLINGS))


async def delete_again(
    store: Conducting, lease: Lease, snapshot: Snapshot, failed: Operation, now: datetime
) -> float | None:
    """Begin a delete like the one that failed, if its pause is over by `now`; give in how many seconds it is.

    None: there is an operation by now. A request (`cloud k8s rm`) does not wait for the pause, and starts it anew.
    """
    attempt = _attempt(failed) + 1
    left = (failed.finished_at or failed.updated_at) + timedelta(seconds=pause_s(attempt)) - now
    if left > timedelta():
        return left.total_seconds()
    change = Change(
        kind=OperationKind.DELETE,
        spec=snapshot.cluster.spec,
        deadline_s=max(1.0, (failed.deadline - failed.created_at).total_seconds()),
        arguments={**failed.arguments, ATTEMPT: attempt},
        events=(Event("", DELETED_AGAIN, f"the delete is begun again; {attempt} before it failed"),),
    )
    if await store.start_operation(lease, change, requested_by=_REQUESTED_BY) is not None:
        _log.warning("the delete of cluster %s is begun again; %s before it failed", lease.cluster_id, attempt)
    return None


def _attempt(operation: Operation) -> int:
    said = operation.arguments.get(ATTEMPT, 0)
    return said if isinstance(said, int) else 0
