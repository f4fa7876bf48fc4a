"""CSINode objects: what the kubelet has told the cluster about the drivers of its node."""

from node.kube.api import KubeApi, Subject, at, quoted, text


class KubeCsiNodes:
    """CSINode objects of the cluster; errors as `KubeApi` raises them."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def allocatable(self, node_name: str, driver: str, *, deadline: float) -> int | None:
        """Give the number of volumes of a driver that the scheduler may place on a node.

        None as long as it does not know one: without the object, the driver in it, or the driver's count, it places any
        number.
        """
        path = f"/apis/storage.k8s.io/v1/csinodes/{quoted(node_name)}"
        subject = Subject(path, f"CSINode {node_name!r}", "`get` on csinodes")
        drivers = at(await self._api.get(subject, deadline=deadline), "spec", "drivers")
        for entry in drivers if isinstance(drivers, list) else ():
            count = at(entry, "allocatable", "count")
            if text(entry, "name") == driver and isinstance(count, int):
                return count
        return None
