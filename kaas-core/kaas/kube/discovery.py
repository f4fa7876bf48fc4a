"""Where the API has a kind of object, asked of the server itself: the cluster decides which versions it serves."""

from dataclasses import dataclass

from kaas.domain.errors import Code, StepError
from kaas.kube.client import Connection, path_of
from kaas.kube.errors import NOT_FOUND, RefusedError
from kaas.kube.wire import ApiResources


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind and its place."""

    api_version: str
    kind: str
    plural: str
    is_namespaced: bool

    def path(self, name: str = "", namespace: str = "") -> str:
        """Path of an object, or of the collection without a name; of all namespaces when none is given."""
        where = ("namespaces", namespace) if self.is_namespaced and namespace else ()
        return _base(self.api_version) + path_of(*where, self.plural, name)


class Discovery:
    """Kinds by version and name; what was asked once is not asked again, so make one for each call."""

    def __init__(self, connection: Connection, *, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self._known: dict[str, dict[str, Resource]] = {}

    async def find(self, api_version: str, kind: str) -> Resource | None:
        """Give the place of a kind; None when the cluster does not serve it."""
        if api_version not in self._known:
            self._known[api_version] = await self._read(api_version)
        return self._known[api_version].get(kind)

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Give the place of a kind. Raises StepError (ADDON_FAILED) when the cluster does not serve it."""
        if found := await self.find(api_version, kind):
            return found
        raise StepError(
            Code.ADDON_FAILED,
            f"{self._connection.what('GET', _base(api_version))}: the cluster has no kind {kind} there; its "
            "CustomResourceDefinition is missing, or the cluster's version does not serve it",
        )

    def forget(self) -> None:
        """Ask again, because kinds were added."""
        self._known.clear()

    async def _read(self, api_version: str) -> dict[str, Resource]:
        path = _base(api_version)
        try:
            found = await self._connection.read(path, ApiResources, deadline=self._deadline)
        except RefusedError as error:
            # A group that nobody serves is answered by no part of the API, in plain text.
            if error.status != NOT_FOUND:
                raise
            found = None
        return {
            one.kind: Resource(api_version, one.kind, one.name, one.namespaced)
            for one in (found.resources or () if found else ())
            if "/" not in one.name
        }


def _base(api_version: str) -> str:
    group, _, version = api_version.rpartition("/")
    return path_of("apis", group, version) if group else path_of("api", version)
