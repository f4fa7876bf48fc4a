"""The Kubernetes API of clusters, as the domain asks for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from kaas.domain.errors import Code, StepError
from kaas.domain.ports import Kube, KubeAccess, KubeNode
from kaas.kube import apply, drain, nodes, release, rollout, tokens
from kaas.kube.client import Connection, Connections
from kaas.kube.errors import RefusedError, is_distrust

_READINESS_S = 10.0
_PAUSE_S = 1.0


def _utc() -> datetime:
    return datetime.now(UTC)


def _ignore(access: KubeAccess) -> None:
    del access


class KubeApi:
    """Implements `kaas.domain.ports.Kube`; an async context manager that closes its connections.

    `refused` is told which access a cluster does not take, or whose authority is not the cluster's: another one may do.
    `pause_s`: how often a node that is drained is looked at.
    """

    def __init__(
        self,
        connections: Connections | None = None,
        *,
        refused: Callable[[KubeAccess], None] = _ignore,
        now: Callable[[], datetime] = _utc,
        pause_s: float = _PAUSE_S,
    ) -> None:
        self._connections = connections or Connections()
        self._refused = refused
        self._now = now
        self._pause_s = pause_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def is_ready(self, access: KubeAccess, *, deadline: float) -> bool:
        """Tell whether /readyz answers and the certificate is one of the cluster's own CA."""
        return not await self.readiness(access, deadline=deadline)

    async def readiness(self, access: KubeAccess, *, deadline: float) -> str:
        """Say why the API server is not ready; empty when it is. Looks once, for ten seconds at most."""
        limit = min(deadline, asyncio.get_running_loop().time() + _READINESS_S)
        try:
            async with self._to(access) as connection:
                await connection.request("GET", "/readyz", accept="*/*", waits_if_told=False, deadline=limit)
        except RefusedError as error:
            failing = [line[3:].partition(" ")[0] for line in error.detail.splitlines() if line.startswith("[-]")]
            return f"GET /readyz at {access.server}: not ready: {', '.join(failing)}" if failing else error.message
        except StepError as error:
            if error.code is not Code.API_SERVER_DOWN:
                raise
            return error.message
        return ""

    async def nodes(self, access: KubeAccess, *, deadline: float) -> Sequence[KubeNode]:
        """Give all Node objects by name."""
        async with self._to(access) as connection:
            return await nodes.read_nodes(connection, deadline=deadline)

    async def apply(self, access: KubeAccess, objects: Sequence[Mapping[str, object]], *, deadline: float) -> None:
        """Apply objects on the server's side under the field manager `kaas`, CRDs and namespaces first."""
        async with self._to(access) as connection:
            await apply.apply(connection, objects, deadline=deadline)

    async def prune(
        self, access: KubeAccess, addon: str, objects: Sequence[Mapping[str, object]], *, deadline: float
    ) -> Sequence[str]:
        """Delete what carries an addon's label and is not among its objects; give what was deleted."""
        async with self._to(access) as connection:
            return await apply.prune(connection, addon, objects, deadline=deadline)

    async def rolled_out(self, access: KubeAccess, namespace: str, *, deadline: float) -> Sequence[str]:
        """Give what in a namespace is not there yet, as sentences; empty when all workloads are available."""
        async with self._to(access) as connection:
            return await rollout.missing(connection, namespace, deadline=deadline)

    async def create_bootstrap_token(self, access: KubeAccess, token: str, *, ttl_s: float, deadline: float) -> None:
        """Make a bootstrap token for one node to join with; the same one again gets the new end."""
        expires_at = self._now() + timedelta(seconds=ttl_s)
        async with self._to(access) as connection:
            await tokens.create(connection, token, expires_at=expires_at, deadline=deadline)

    async def delete_bootstrap_tokens(self, access: KubeAccess, *, deadline: float) -> None:
        """Remove all bootstrap tokens that we made."""
        async with self._to(access) as connection:
            await tokens.delete_all(connection, deadline=deadline)

    async def drain(self, access: KubeAccess, node: str, *, deadline: float) -> Sequence[str]:
        """Cordon a node and evict its pods, budgets respected, until it is empty or the deadline is near."""
        async with self._to(access) as connection:
            return await drain.drain(connection, node, pause_s=self._pause_s, deadline=deadline)

    async def delete_node(self, access: KubeAccess, node: str, *, deadline: float) -> None:
        """Delete a Node object; none is no error."""
        async with self._to(access) as connection:
            await nodes.delete_node(connection, node, deadline=deadline)

    async def disposable_volumes(self, access: KubeAccess, *, deadline: float) -> Sequence[str]:
        """Give the platform's ids of volumes that may go with their claims, as their reclaim policy says."""
        async with self._to(access) as connection:
            return await release.disposable(connection, deadline=deadline)

    async def release_outside(self, access: KubeAccess, *, volumes: bool, deadline: float) -> Sequence[str]:
        """Delete Services of type LoadBalancer, and claims with `volumes`; give what still goes, as sentences."""
        async with self._to(access) as connection:
            return await release.release(connection, volumes=volumes, deadline=deadline)

    @contextlib.asynccontextmanager
    async def _to(self, access: KubeAccess) -> AsyncIterator[Connection]:
        async with self._connections.to(access) as connection:
            try:
                yield connection
            except StepError as error:
                if is_distrust(error):
                    self._refused(access)
                raise


if TYPE_CHECKING:
    _: Kube = KubeApi()
