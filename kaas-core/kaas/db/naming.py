"""Names of machines: no two groups may give the same ones, in whichever clusters and tenants they are.

All clusters of these tables have their machines in one tenant of the platform, where the driver and the manager look
machines up by name. A name is cluster, group and number, and both of the first may have hyphens in them.
"""

from collections.abc import Iterable

from sqlalchemy import select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import quotas, tables
from kaas.domain import names
from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Cluster
from kaas.domain.states import NodeState

_EVERYBODY = ""
"""No tenant is called so; the row of it is what requests for new names line up at."""
_CLUSTER, _GROUP, _NODE = tables.cluster.c, tables.nodegroup.c, tables.node.c


async def claim(connection: AsyncConnection, cluster: Cluster, groups: Iterable[str]) -> None:
    """See that groups which a cluster is about to get give names that no other group gives. Raises RequestError.

    Until the commit nobody else can claim any. After the locks of tenant and cluster, always.
    """
    wanted = {names.stem(cluster.name, group): group for group in groups}
    if not wanted:
        return
    await quotas.lock_tenant(connection, _EVERYBODY)
    near = sorted(frozenset().union(*map(names.clusters_behind, wanted)))
    others = (_CLUSTER.name.in_(near), _CLUSTER.uuid != cluster.id)
    of_cluster = (_CLUSTER.project_id, _CLUSTER.name.label("cluster"))
    # Those that are taken away as well, for as long as a machine of theirs may be there.
    query = union(
        select(*of_cluster, _GROUP.name.label("group")).join_from(tables.cluster, tables.nodegroup).where(*others),
        select(*of_cluster, _NODE.nodegroup.label("group"))
        .join_from(tables.cluster, tables.node)
        .where(*others, _NODE.state != NodeState.GONE),
    )
    found = (await connection.execute(query)).all()
    for other in sorted(found, key=lambda row: (row.project_id != cluster.tenant_id, row.cluster, row.group)):
        group = wanted.get(names.stem(other.cluster, other.group))
        if group is not None:
            is_own = other.project_id == cluster.tenant_id
            raise _taken(cluster.name, group, other.cluster if is_own else "", other.group)


def _taken(cluster: str, group: str, other: str, other_group: str) -> RequestError:
    # Of other tenants' clusters nothing is told but that the name is not free.
    whose = f"group {other_group} of cluster {other!r}" if other else "a group of another tenant's cluster"
    return RequestError(
        Code.NAME_TAKEN,
        f"machines of group {group} of cluster {cluster!r} would be called {names.node(cluster, group, 0)}, and so on, "
        f"as those of {whose} are; choose another name",
    )
