"""A delete that comes while a cluster is made, at every boundary of every step: nothing is left of either."""

from kaas.domain.states import OperationKind, OperationState
from tests.support.kaas_deaths import Watch, is_call, watched
from tests.support.kaas_flow import WHO, Rig


class DeleteAt:
    """Asks for the end of a cluster when its conductor comes to a point, and lets it go on."""

    def __init__(self, rig: Rig, cluster_id: str, point: str) -> None:
        self._rig = rig
        self._cluster_id = cluster_id
        self._point = point
        self._passed: list[str] = []
        self._watch = Watch(self._passed.append)
        self.has_asked = False

    async def at(self, point: str) -> None:
        await self._watch.at(point)
        if self._passed[-1] == self._point and not self.has_asked:
            self.has_asked = True
            await self._rig.delete(self._cluster_id)


async def boundaries(rig: Rig) -> list[str]:
    """Give those that a creation passes before it has ended."""
    passed: list[str] = []
    watch = Watch(passed.append)
    rig.tools = watched(rig, watch)
    cluster_id = await rig.create("dev", workers=1)
    await rig.succeed(cluster_id, rig.conductor(faults=watch))
    return [point for point in dict.fromkeys(passed) if not is_call(point)]


async def test_at_every_boundary(rig: Rig) -> None:
    points = await boundaries(rig)
    assert len(points) > 100
    for number, point in enumerate(points):
        cluster_id = await rig.create("dev", workers=1)
        asking = DeleteAt(rig, cluster_id, point)
        conductor = rig.conductor(f"conductor-{number}", faults=asking)
        while not asking.has_asked:
            await conductor.handle(cluster_id)
        ended = await rig.settle(cluster_id, conductor)
        assert (ended.kind, ended.state) == (OperationKind.DELETE, OperationState.SUCCEEDED), point
        assert rig.left(cluster_id) == [], point
        assert cluster_id not in {one.cluster.id for one in await rig.kit.requests.list(WHO)}, point
