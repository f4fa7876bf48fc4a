"""What machines tell while they boot: `kaas.domain.store.Boots` on the tables."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from kaas.db import clock, clusters, events, leases, nodes, tables
from kaas.db.session import Database
from kaas.db.wakeups import NO_WAKEUPS
from kaas.domain.errors import Code, StepError
from kaas.domain.model import Event, Lease
from kaas.domain.store import NodeUpdate
from kaas.engine.port import Wakeups

HOST_KEY_CHANGED = "HOST_KEY_CHANGED"

_TOKEN, _NODE, _CLUSTER = tables.boot_token.c, tables.node.c, tables.cluster.c


class BootStore:
    """Tokens of machines, of which only hashes are known, and the reports that came with them."""

    def __init__(self, database: Database, *, wakeups: Wakeups = NO_WAKEUPS) -> None:
        self._database = database
        self._wakeups = wakeups

    async def issue_boot_token(self, lease: Lease, node_id: str, token_hash: str, *, ttl_s: float) -> None:
        """Remember the hash of the only token that a node may report with: earlier ones end here.

        Whoever makes a machine has looked for an earlier one before, so that nobody waits for a report with those.
        """

        async def work(connection: AsyncConnection) -> None:
            held = await leases.hold(connection, lease)
            this = select(_NODE.uuid).where(_NODE.cluster_id == lease.cluster_id, _NODE.uuid == node_id)
            if await connection.scalar(this) is None:
                raise StepError(Code.BUG, f"cluster {lease.cluster_id} has no node {node_id}")
            await connection.execute(tables.boot_token.delete().where(_TOKEN.node_id == node_id))
            # In the same commit, so that nothing that an earlier token brought counts for the new machine.
            forgotten = NodeUpdate(boot_phase="", ssh_host_key="")
            await nodes.change(connection, lease.cluster_id, node_id, forgotten, held.now)
            await connection.execute(
                tables.boot_token.insert().values(
                    token_hash=token_hash,
                    node_id=node_id,
                    created_at=clock.now(),
                    expires_at=clock.after(ttl_s),
                )
            )

        await self._database.write(work)

    async def report_boot(self, token_hash: str, *, phase: str, ssh_host_key: str, log_tail: str) -> bool:
        """Write a node's report and make its cluster due; False when its token is no good, or was used already.

        A token is used up by the first report with a host key. The same report again, because its answer was lost, is
        as good as the first. Another host key ends the token and is an event: one of the two is not the machine.
        """

        async def work(connection: AsyncConnection) -> _Taken:
            cluster_id = await _cluster_of(connection, token_hash)
            # Locks the cluster, as conductors do before they write a node.
            if cluster_id is None or not await clusters.wake(connection, cluster_id):
                return _Taken("", is_good=False)
            is_good = await _write(connection, token_hash, phase=phase, ssh_host_key=ssh_host_key, log_tail=log_tail)
            await self._wakeups.enqueue(connection, cluster_id)
            return _Taken(cluster_id, is_good=is_good)

        taken = await self._database.write(work)
        if taken.cluster_id:
            self._wakeups.committed(taken.cluster_id)
        return taken.is_good


@dataclass(frozen=True, slots=True)
class _Taken:
    """What became of a report: whose it was, if anybody's, and whether it counts."""

    cluster_id: str
    is_good: bool


async def _cluster_of(connection: AsyncConnection, token_hash: str) -> str | None:
    query = select(_NODE.cluster_id).join_from(tables.boot_token, tables.node)
    return await connection.scalar(query.where(_TOKEN.token_hash == token_hash, _TOKEN.expires_at > clock.now()))


async def _write(connection: AsyncConnection, token_hash: str, *, phase: str, ssh_host_key: str, log_tail: str) -> bool:
    query = (
        select(
            _NODE.uuid,
            _NODE.name,
            _NODE.cluster_id,
            _NODE.boot_phase,
            _NODE.ssh_host_key,
            _CLUSTER.project_id,
            clock.now().label("now"),
        )
        .join_from(tables.boot_token, tables.node)
        .join(tables.cluster)
        .where(_TOKEN.token_hash == token_hash)
    )
    # Nobody may have used up the token since it was looked for without the lock.
    node = (await connection.execute(query)).first()
    if node is None:
        return False
    if not node.ssh_host_key:
        report = NodeUpdate(boot_phase=phase, log_tail=log_tail or None, ssh_host_key=ssh_host_key or None)
        await nodes.change(connection, node.cluster_id, node.uuid, report, node.now)
        return True
    if ssh_host_key in {"", node.ssh_host_key}:
        return bool((phase, ssh_host_key) == (node.boot_phase, node.ssh_host_key))
    await connection.execute(tables.boot_token.delete().where(_TOKEN.token_hash == token_hash))
    message = (
        f"{node.name} reported another SSH host key than at its first boot; the first one counts, and no further"
        " report is taken. Somebody else has its boot token, and may have been the first: replace the node"
    )
    event = Event(node.cluster_id, HOST_KEY_CHANGED, message, severity="error", node_id=node.uuid, actor=node.name)
    await events.add(connection, node.project_id, node.cluster_id, [event], node.now)
    return False


if TYPE_CHECKING:
    from kaas.domain.store import Boots

    def _conforms(store: BootStore) -> Boots:
        return store
