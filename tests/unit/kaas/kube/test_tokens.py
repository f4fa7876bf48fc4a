"""The Secret of a bootstrap token."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from kaas.domain.errors import Code, StepError
from kaas.kube.api import KubeApi
from kaas.kube.tokens import token_secret
from tests.unit.kaas.kube.conftest import by
from tests.unit.kaas.kube.fake_server import status

TOKEN = "abcdef.0123456789abcdef"
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_the_secret_is_what_kubeadm_joins_with():
    secret = token_secret(TOKEN, expires_at=NOW)
    assert secret["metadata"] == {
        "name": "bootstrap-token-abcdef",
        "namespace": "kube-system",
        "labels": {"kaas-bootstrap-token": "true"},
    }
    assert secret["type"] == "bootstrap.kubernetes.io/token"
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert data["token-id"] == "abcdef"
    assert data["token-secret"] == "0123456789abcdef"
    assert data["expiration"] == "2026-11-21T12:00:00Z"
    assert data["auth-extra-groups"] == "system:bootstrappers:kubeadm:default-node-token"
    assert data["usage-bootstrap-authentication"] == data["usage-bootstrap-signing"] == "true"


@pytest.mark.parametrize("token", ["", "abcdef", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcdef0", f"{TOKEN}\n"])
def test_what_is_no_token_is_refused_without_quoting_it(token):
    with pytest.raises(StepError) as caught:
        token_secret(token, expires_at=NOW)
    assert caught.value.code is Code.BUG
    assert "0123456789abcdef" not in str(caught.value)


async def test_it_ends_when_its_time_is_up(serve):
    async def answer(request):
        return web.json_response({})

    server = await serve(answer)
    async with KubeApi(now=lambda: NOW) as kube:
        await kube.create_bootstrap_token(server.access, TOKEN, ttl_s=600, deadline=by())
    seen = server.seen[0]
    assert (seen.method, seen.path) == ("PATCH", "/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef")
    expected = (NOW + timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert base64.b64decode(seen.body["data"]["expiration"]).decode() == expected


async def test_a_refusal_does_not_quote_it(serve, kube):
    async def answer(request):
        return status(422, "Invalid", f"{TOKEN} is bad", details={"causes": [{"field": "data[token-secret]"}]})

    with pytest.raises(StepError, match=r"data\[token-secret\]") as caught:
        await kube.create_bootstrap_token((await serve(answer)).access, TOKEN, ttl_s=600, deadline=by())
    assert "0123456789abcdef" not in str(caught.value)


async def test_ours_alone_are_deleted(serve, kube):
    async def answer(request):
        return web.json_response({})

    server = await serve(answer)
    await kube.delete_bootstrap_tokens(server.access, deadline=by())
    seen = server.seen[0]
    assert (seen.method, seen.path) == ("DELETE", "/api/v1/namespaces/kube-system/secrets")
    assert seen.query == {"labelSelector": "kaas-bootstrap-token=true"}
