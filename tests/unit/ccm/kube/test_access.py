"""How the program shows who it is, and notices that this has changed."""

import asyncio
import json
import os
import sys
import time

import pytest

from ccm.kube import access
from ccm.kube.access import open_access
from ccm.kube.client import ApiError, KubeClient, Unreachable, Unusable, open_client
from ccm.kube.kinds import NODES
from tests.support.certificates import MISSING_OPENSSL, make_loopback_certificate
from tests.support.fake_api import fake_api
from tests.unit.ccm.kube.rig import by, node

needs_certificates = pytest.mark.skipif(bool(MISSING_OPENSSL), reason=MISSING_OPENSSL)


def kubeconfig(path, server, user, **cluster):
    """Kubeconfigs are YAML, of which JSON is a part."""
    content = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(content))
    return path


async def read(client):
    return await client.get(NODES, "a", deadline=by(10))


@pytest.fixture
async def api():
    async with fake_api() as served:
        served.token = "first"
        served.put(node("a"))
        yield served


async def test_a_kubeconfig_with_a_token(api, tmp_path):
    path = kubeconfig(tmp_path / "config", api.url, {"token": "first"})
    async with await open_client(path) as client:
        assert await read(client) is not None


async def test_master_overrides_the_kubeconfigs_server(api, tmp_path):
    path = kubeconfig(tmp_path / "config", "http://127.0.0.1:1", {"token": "first"})
    async with await open_client(path, master=api.url) as client:
        assert await read(client) is not None


async def test_a_token_file_that_was_replaced_is_read_again_when_the_old_one_is_refused(api, tmp_path, monkeypatch):
    monkeypatch.setattr(access, "_REFUSED_AGAIN_S", -1.0)
    token = tmp_path / "token"
    token.write_text("first\n")
    path = kubeconfig(tmp_path / "config", api.url, {"tokenFile": str(token)})
    async with await open_client(path) as client:
        assert await read(client) is not None
        api.token = "second"
        with pytest.raises(ApiError) as refused:
            await read(client)
        assert refused.value.status == 401
        token.write_text("second\n")
        assert await read(client) is not None


async def test_refused_credentials_are_not_read_again_and_again(api, tmp_path):
    path = kubeconfig(tmp_path / "config", api.url, {"token": "wrong"})
    async with await open_client(path) as client:
        for _ in range(3):
            with pytest.raises(ApiError):
                await read(client)
    assert len(api.requests) == 3


async def test_a_plugin_gives_the_token(api, tmp_path):
    script = tmp_path / "plugin"
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "first"}}
    script.write_text(f"#!{sys.executable}\nprint('''{json.dumps(answer)}''')\n")
    script.chmod(0o755)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(script)}}
    async with await open_client(kubeconfig(tmp_path / "config", api.url, user)) as client:
        assert await read(client) is not None


@needs_certificates
async def test_a_service_account_over_tls(tmp_path, monkeypatch):
    make_loopback_certificate(tmp_path)
    (tmp_path / "token").write_text("first\n")
    monkeypatch.setattr(access, "_READ_AGAIN_S", -1.0)
    async with fake_api(certificate=tmp_path) as api:
        api.token = "first"
        api.put(node("a"))
        host, port = api.url.removeprefix("https://").split(":")
        environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        opened = await open_access(None, master="", service_account=tmp_path, environment=environment)
        async with KubeClient(opened, user_agent="test") as client:
            assert await read(client) is not None
            api.token = "second"
            (tmp_path / "token").write_text("second\n")
            assert await read(client) is not None
            (tmp_path / "token").unlink()
            assert await read(client) is not None


@needs_certificates
async def test_a_server_whose_certificate_nobody_has_signed_is_not_asked(tmp_path):
    make_loopback_certificate(tmp_path)
    async with fake_api(certificate=tmp_path) as api:
        path = kubeconfig(tmp_path / "config", api.url, {"token": "secret-token"})
        async with await open_client(path) as client:
            with pytest.raises(Unreachable, match=r"(?i)certificate"):
                await read(client)
        assert not api.requests
        path = kubeconfig(tmp_path / "config", api.url, {}, **{"certificate-authority": str(tmp_path / "ca.crt")})
        async with await open_client(path) as client:
            assert await read(client) is None


async def test_what_cannot_be_used_is_said_without_secrets(tmp_path):
    with pytest.raises(Unusable, match="no such file"):
        await open_client(tmp_path / "none")
    broken = kubeconfig(tmp_path / "config", "http://x", {"exec": {"command": "x", "token": "secret-token"}})
    broken.write_text(broken.read_text().replace('"cluster": "k"', '"cluster": "missing"'))
    with pytest.raises(Unusable, match="current-context") as refused:
        await open_client(broken)
    assert "secret-token" not in str(refused.value)
    assert refused.value.__cause__ is None
    with pytest.raises(Unusable, match="no kubeconfig was given"):
        await open_access(None, master="", service_account=tmp_path, environment={})


async def test_many_requests_read_the_credentials_once(api, tmp_path, monkeypatch):
    path = kubeconfig(tmp_path / "config", api.url, {"token": "first"})
    async with await open_client(path) as client:
        opened = client._access
        loads = []
        inner = opened._load

        async def load():
            loads.append(time.monotonic())
            return await inner()

        opened._load = load
        opened._read_at -= 61
        await asyncio.gather(*(read(client) for _ in range(20)))
    assert len(loads) == 1


async def test_the_environments_proxy_is_not_used(api, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "http_proxy", "http://127.0.0.1:1")
    path = kubeconfig(tmp_path / "config", api.url, {"token": "first"})
    async with await open_client(path) as client:
        assert await read(client) is not None
