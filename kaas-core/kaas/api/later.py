"""Routes of the platform that are not offered yet: what is wrong with a request is said, and then that they come."""

from fastapi import APIRouter
from fastapi.responses import Response

from kaas.api.bodies import BackupPolicyBody, RestoreBody, UpgradeBody
from kaas.api.call import Audited, Call, Updater
from kaas.api.clusters import Ref
from kaas.api.envelope import documented
from kaas.domain.errors import Code, Problem, RequestError
from kaas.domain.model import Snapshot
from kaas.domain.requests import refuse
from kaas.domain.states import ClusterStatus
from kaas.domain.versions import parse_version, upgrade_problem

router = APIRouter(prefix="/clusters", tags=["not offered yet"], route_class=Audited)
_ERRORS = (Code.NOT_FOUND, Code.WRONG_STATE, Code.NOT_OFFERED)


@router.post("/{ref}/upgrade", **documented(202, None, *_ERRORS))
async def upgrade_cluster(call: Updater, ref: Ref, body: UpgradeBody) -> Response:
    """Go to another version."""
    snapshot = await _running(call, ref)
    cluster = snapshot.cluster
    try:
        wanted = parse_version(body.version)
        problem = upgrade_problem(parse_version(cluster.version or cluster.spec.version), wanted)
    except ValueError as error:
        problem = str(error)
    if problem:
        refuse(f"cluster {cluster.name} cannot be upgraded", [Problem("version", problem)])
    raise _not_offered("upgrades")


@router.post("/{ref}/rotate-secrets", **documented(200, None, *_ERRORS))
async def rotate_secrets(call: Updater, ref: Ref) -> Response:
    """Renew a cluster's certificates and keys."""
    await _running(call, ref)
    raise _not_offered("rotations of secrets")


@router.post("/{ref}/backups", **documented(202, None, *_ERRORS))
async def create_backup(call: Updater, ref: Ref) -> Response:
    """Back a cluster up."""
    await _running(call, ref)
    raise _not_offered("backups")


@router.post("/{ref}/restore", **documented(200, None, *_ERRORS))
async def restore_cluster(call: Updater, ref: Ref, body: RestoreBody) -> Response:
    """Go back to a backup."""
    await _running(call, ref)
    if not body.backup_path:
        refuse("the cluster cannot be restored", [Problem("backup_path", "it is empty")])
    raise _not_offered("restores")


@router.put("/{ref}/backup-policy", **documented(200, None, *_ERRORS))
async def set_backup_policy(call: Updater, ref: Ref, body: BackupPolicyBody) -> Response:
    """Say when backups are made."""
    await call.requests.get(call.scope, ref)
    if body.schedule is None and body.retention_days is None:
        refuse("the backup policy cannot be set", [Problem("schedule", "give schedule, retention_days or both")])
    if body.retention_days is not None and body.retention_days < 1:
        refuse("the backup policy cannot be set", [Problem("retention_days", "it must be 1 or more")])
    raise _not_offered("scheduled backups")


async def _running(call: Call, ref: str) -> Snapshot:
    snapshot = await call.requests.get(call.scope, ref)
    cluster = snapshot.cluster
    if cluster.status is not ClusterStatus.RUNNING:
        raise RequestError(Code.WRONG_STATE, f"cluster {cluster.name} is {cluster.status.value}, not running")
    return snapshot


def _not_offered(what: str) -> RequestError:
    return RequestError(Code.NOT_OFFERED, f"{what} are not offered yet; they come next, and nothing was changed")
