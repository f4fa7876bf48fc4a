import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from ccm.kube.errors import ApiError, Unreachable
from ccm.serving.access import ReviewError, User
from ccm.serving.reviews import ACCESS_REVIEWS, AUTHORITIES, TOKEN_REVIEWS, KubeReviews


class FakeApi:
    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, Mapping[str, Any] | None]] = []

    async def request(self, method: str, path: str, *, body: Mapping[str, Any] | None = None, deadline: float) -> bytes:
        self.asked.append((method, path, body))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()


def in_time() -> float:
    return asyncio.get_running_loop().time() + 5


async def test_the_owner_of_a_token_is_read_whole() -> None:
    user = {"username": "u", "uid": "1", "groups": ["a", "b"], "extra": {"k": ["v"]}}
    api = FakeApi({"kind": "TokenReview", "status": {"authenticated": True, "user": user}})
    assert await KubeReviews(api).user_of("t", deadline=in_time()) == User("u", "1", ("a", "b"), (("k", ("v",)),))
    method, path, body = api.asked[0]
    assert (method, path) == ("POST", TOKEN_REVIEWS)
    assert body is not None
    assert body["spec"] == {"token": "t"}


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"authenticated": False, "user": {"username": "u"}},
        {"authenticated": True},
        {"authenticated": True, "user": {}},
    ],
)
async def test_a_token_of_nobody_is_nobodys(status: object) -> None:
    assert await KubeReviews(FakeApi({"status": status})).user_of("t", deadline=in_time()) is None


@pytest.mark.parametrize(
    ("status", "is_allowed"),
    [({"allowed": True}, True), ({"allowed": False}, False), ({}, False), ({"allowed": True, "denied": True}, False)],
)
async def test_only_a_clear_yes_is_one(status: object, *, is_allowed: bool) -> None:
    api = FakeApi({"status": status})
    user = User("u", "1", ("g",), (("k", ("v",)),))
    assert await KubeReviews(api).may(user, "get", "/metrics", deadline=in_time()) is is_allowed
    _, path, body = api.asked[0]
    assert path == ACCESS_REVIEWS
    assert body is not None
    assert body["spec"] == {
        "user": "u",
        "uid": "1",
        "groups": ("g",),
        "extra": {"k": ("v",)},
        "nonResourceAttributes": {"verb": "get", "path": "/metrics"},
    }


async def test_the_authorities_are_those_of_clients_and_not_of_the_front_proxy() -> None:
    api = FakeApi({"data": {"client-ca-file": "PEM", "requestheader-client-ca-file": "OTHER"}})
    assert await KubeReviews(api).client_authorities(deadline=in_time()) == "PEM"
    assert api.asked == [("GET", AUTHORITIES, None)]


@pytest.mark.parametrize("answer", [{"data": {}}, {}, ApiError("x", status=404, reason="NotFound")])
async def test_a_cluster_may_name_no_authorities(answer: object) -> None:
    assert await KubeReviews(FakeApi(answer)).client_authorities(deadline=in_time()) == ""


@pytest.mark.parametrize("answer", [Unreachable("no answer"), ApiError("x", status=500), b"no json", {"status": 1}])
async def test_everything_else_is_no_answer(answer: object) -> None:
    reviews = KubeReviews(FakeApi(answer))
    with pytest.raises(ReviewError):
        await reviews.user_of("secret-token", deadline=in_time())
    with pytest.raises(ReviewError):
        await reviews.may(User("u"), "get", "/x", deadline=in_time())


async def test_a_role_that_forbids_the_configmap_is_told() -> None:
    with pytest.raises(ReviewError, match="forbidden"):
        await KubeReviews(FakeApi(ApiError("forbidden", status=403))).client_authorities(deadline=in_time())
