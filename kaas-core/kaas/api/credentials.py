"""Ways into a cluster: kubeconfigs, issued on demand, and the SSH key of its machines. Each request is audited."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from kaas.api.call import Audited, KubeconfigReader, SshKeyReader
from kaas.api.clusters import Ref
from kaas.api.envelope import documented
from kaas.api.views import SshKeyView
from kaas.domain.errors import Code, RequestError
from kaas.domain.policy import kubeconfig_role
from kaas.domain.states import NodeState

router = APIRouter(prefix="/clusters", tags=["access"], route_class=Audited)
NO_STORE = {"Cache-Control": "no-store"}
SSH_USER = "root"
_LONGEST_S = 366 * 24 * 3600
_OUT_OF_REACH = (NodeState.WANTED, NodeState.LEAVING, NodeState.GONE)


@router.get("/{ref}/kubeconfig", **documented(200, str, Code.NOT_FOUND, Code.WRONG_STATE, Code.KEY_MISSING))
async def get_kubeconfig(
    call: KubeconfigReader,
    ref: Ref,
    role: Annotated[str, Query(description="reader, member or admin; default: your own", max_length=40)] = "",
    expires_in: Annotated[int | None, Query(description="Seconds that it is good for", ge=1, le=_LONGEST_S)] = None,
) -> Response:
    """Issue a kubeconfig, as YAML in `data`. It holds a key of its own that is stored nowhere."""
    wanted = kubeconfig_role(call.scope, role)
    snapshot = await call.requests.get(call.scope, ref)
    cluster = snapshot.cluster
    # Also while it is changed, or after a change that failed: its API is there as soon as it has a version.
    if not (cluster.endpoint and cluster.version):
        raise RequestError(
            Code.WRONG_STATE,
            f"cluster {cluster.name} is {cluster.status.value} and has no API yet; there is a kubeconfig once it has",
        )
    ttl_s = float(expires_in) if expires_in is not None else call.context.settings.kubeconfig_ttl_s
    issued = await call.context.access.kubeconfig(call.scope, snapshot, wanted.value, ttl_s)
    # Before the answer: access that nobody wrote down must not leave the house.
    await call.requests.record_kubeconfig(
        call.changing(),
        cluster.id,
        role=wanted.value,
        serial=issued.serial,
        not_after=issued.not_after,
        client_ip=call.client_ip,
    )
    expires = issued.not_after.isoformat(timespec="seconds")
    return call.reply(issued.text, headers={**NO_STORE, "X-Kubeconfig-Expires": expires})


@router.get("/{ref}/ssh-key", **documented(200, SshKeyView, Code.NOT_FOUND, Code.KEY_MISSING))
async def get_ssh_key(call: SshKeyReader, ref: Ref) -> Response:
    """Give the private key that a cluster's machines trust, and their addresses; for admins."""
    snapshot = await call.requests.get(call.scope, ref)
    key = await call.context.access.ssh_key(call.scope, snapshot)
    addresses = {node.name: node.address for node in snapshot.nodes if node.address and node.state not in _OUT_OF_REACH}
    return call.reply(SshKeyView(private_key=key, user=SSH_USER, addresses=addresses), headers=NO_STORE)
