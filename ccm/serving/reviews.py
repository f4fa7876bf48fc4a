"""Asks the API server who somebody is and what they may do: `ccm.serving.access.Reviews` on `ccm.kube`'s client."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from ccm.kube.errors import HTTP_NOT_FOUND, ApiError, KubeError
from ccm.serving.access import ReviewError, User

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
AUTHORITIES = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
"""Where the API server says which authorities' client certificates it takes itself."""


class Requests(Protocol):
    """Raw requests; `ccm.kube.client.KubeClient` makes them. Raises KubeError."""

    async def request(self, method: str, path: str, *, body: Mapping[str, Any] | None = None, deadline: float) -> bytes:
        """Send a request and give the body of its success."""
        ...


class _UserInfo(msgspec.Struct, frozen=True):
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] | None = None
    extra: dict[str, tuple[str, ...]] | None = None


class _TokenStatus(msgspec.Struct, frozen=True):
    authenticated: bool = False
    user: _UserInfo | None = None


class _TokenReview(msgspec.Struct, frozen=True):
    status: _TokenStatus


class _AccessStatus(msgspec.Struct, frozen=True):
    allowed: bool = False
    denied: bool = False


class _AccessReview(msgspec.Struct, frozen=True):
    status: _AccessStatus


class _ConfigMap(msgspec.Struct, frozen=True):
    data: dict[str, str] | None = None


_Answer = TypeVar("_Answer", _TokenReview, _AccessReview, _ConfigMap)


class KubeReviews:
    """Reviews by the API server.

    The client must be one that writes without leading: a review is a POST, and changes nothing.
    """

    def __init__(self, client: Requests) -> None:
        self._client = client

    async def user_of(self, token: str, *, deadline: float) -> User | None:
        """Say whose token this is; None for nobody's. Raises ReviewError."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        answer = await self._ask("POST", TOKEN_REVIEWS, body, _TokenReview, deadline)
        found = answer.status.user
        if not answer.status.authenticated or found is None or not found.username:
            return None
        extra = tuple(sorted((found.extra or {}).items()))
        return User(found.username, found.uid, found.groups or (), extra)

    async def may(self, user: User, verb: str, path: str, *, deadline: float) -> bool:
        """Say whether a user may do this to a path that is no resource. Raises ReviewError."""
        spec = {
            "user": user.name,
            "uid": user.uid,
            "groups": user.groups,
            "extra": dict(user.extra),
            "nonResourceAttributes": {"verb": verb, "path": path},
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        answer = await self._ask("POST", ACCESS_REVIEWS, body, _AccessReview, deadline)
        return answer.status.allowed and not answer.status.denied

    async def client_authorities(self, *, deadline: float) -> str:
        """Give the authorities of client certificates, PEM; empty when the cluster names none. Raises ReviewError.

        Those of its front proxy are not taken: requests to this program do not come through it.
        """
        try:
            answer = await self._ask("GET", AUTHORITIES, None, _ConfigMap, deadline)
        except ReviewError as error:
            if isinstance(error.__cause__, ApiError) and error.__cause__.status == HTTP_NOT_FOUND:
                return ""
            raise
        return (answer.data or {}).get("client-ca-file", "")

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, kind: type[_Answer], deadline: float
    ) -> _Answer:
        try:
            return msgspec.json.decode(
                await self._client.request(method, path, body=body, deadline=deadline), type=kind
            )
        except KubeError as error:
            raise ReviewError(str(error)) from error
        except msgspec.MsgspecError as error:
            raise ReviewError(f"{method} {path}: the answer cannot be read: {error}") from error
