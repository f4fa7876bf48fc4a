"""The record of the node groups in a ConfigMap. It needs `get`, `create` and `patch` on ConfigMaps of its namespace."""

from collections.abc import Mapping

from ccm.autoscaler.ports import StoreConflict, Stored, StoreUnavailable
from ccm.kube.client import KubeClient
from ccm.kube.errors import ApiError, KubeError
from ccm.kube.kinds import Kind
from ccm.kube.model import Object

NAME = "thecloud-node-groups"
_KEY = "record.json"
_CONFLICT = 409


class ConfigMap(Object, frozen=True, kw_only=True):
    """A ConfigMap."""

    data: Mapping[str, str] | None = None


CONFIG_MAPS = Kind("", "v1", "configmaps", "ConfigMap", ConfigMap, is_namespaced=True)


class ConfigMapStore:
    """`ccm.autoscaler.ports.TargetStore` in one ConfigMap, whose resource version is the version."""

    def __init__(self, client: KubeClient, *, namespace: str, name: str = NAME) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name

    async def get(self, *, deadline: float) -> Stored:
        """Give what is stored now; raises StoreUnavailable."""
        try:
            found = await self._client.get(CONFIG_MAPS, self._name, self._namespace, deadline=deadline)
        except KubeError as error:
            raise StoreUnavailable(f"ConfigMap {self._namespace}/{self._name}: {error}") from error
        return Stored("", "") if found is None else _stored(found)

    async def put(self, text: str, *, version: str, deadline: float) -> Stored:
        """Replace what is stored if it still has that version; raises StoreConflict and StoreUnavailable.

        What else somebody keeps in the ConfigMap stays.
        """
        try:
            found = await (self._patch(text, version, deadline) if version else self._create(text, deadline))
        except ApiError as error:
            where = f"ConfigMap {self._namespace}/{self._name}"
            if error.status == _CONFLICT:
                raise StoreConflict(f"{where}: {error}") from error
            raise StoreUnavailable(f"{where}: {error}") from error
        except KubeError as error:
            raise StoreUnavailable(f"ConfigMap {self._namespace}/{self._name}: {error}") from error
        if found is None:
            raise StoreConflict(f"ConfigMap {self._namespace}/{self._name}: it was deleted")
        return _stored(found)

    async def _create(self, text: str, deadline: float) -> ConfigMap:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "data": {_KEY: text},
        }
        return await self._client.create(CONFIG_MAPS, body, self._namespace, deadline=deadline)

    async def _patch(self, text: str, version: str, deadline: float) -> ConfigMap | None:
        body = {"metadata": {"resourceVersion": version}, "data": {_KEY: text}}
        return await self._client.patch(CONFIG_MAPS, self._name, self._namespace, body=body, deadline=deadline)


def _stored(found: ConfigMap) -> Stored:
    return Stored((found.data or {}).get(_KEY, ""), found.metadata.resource_version)
