"""The way to the Kubernetes API, against a real HTTPS server on this machine."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.kube import api as module
from node.kube.api import KubeApi, Subject, in_cluster
from tests.support.certificates import make_certificate
from tests.support.fake_kube import ATTACHMENTS, NODES, TOKEN, FakeKube

SUBJECT = Subject(f"{NODES}/n", "node 'n'", "`get` on nodes")
ALL = Subject(ATTACHMENTS, "the VolumeAttachments", "`list` on volumeattachments")


def soon(limit_s: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + limit_s


async def test_an_object_is_read_with_the_service_account(kube: FakeKube, api: KubeApi) -> None:
    kube.put_node("n", providerID="x")
    found = await api.get(SUBJECT, deadline=soon())
    assert found is not None
    assert found["spec"]["providerID"] == "x"
    assert kube.tokens == {f"Bearer {TOKEN}"}


async def test_a_token_that_the_kubelet_renewed_is_used_at_the_next_call(
    kube: FakeKube, account_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "ca.crt").write_bytes((account_dir / "ca.crt").read_bytes())
    (tmp_path / "token").write_text("first\n")
    api = KubeApi(host="127.0.0.1", port=kube.port, account_dir=tmp_path)
    await api.get(SUBJECT, deadline=soon())
    (tmp_path / "token").write_text("second\n")
    await api.get(SUBJECT, deadline=soon())
    assert kube.tokens == {"Bearer first", "Bearer second"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", ErrorKind.PRECONDITION),
        (403, b"", ErrorKind.PRECONDITION),
        (429, b"", ErrorKind.UNKNOWN_OUTCOME),
        (500, b"", ErrorKind.UNKNOWN_OUTCOME),
        (200, b"not json", ErrorKind.UNKNOWN_OUTCOME),
        (200, b"[]", ErrorKind.UNKNOWN_OUTCOME),
    ],
)
async def test_what_is_no_answer_is_an_error_without_the_token(
    kube: FakeKube, api: KubeApi, status: int, body: bytes, kind: ErrorKind
) -> None:
    for request in ("GET /", "PATCH /"):
        kube.fail(request, status, body)
    for ask in (
        api.get(SUBJECT, deadline=soon()),
        api.patch(SUBJECT, [], deadline=soon()),
        api.collect(ALL, lambda found: found, deadline=soon()),
    ):
        with pytest.raises(CsiError) as caught:
            await ask
        assert caught.value.kind is kind
        assert TOKEN not in caught.value.message
        assert ("its role needs" in caught.value.message) is (status == 403)
        assert ("does not accept this pod's token" in caught.value.message) is (status == 401)


async def test_an_object_that_is_missing_is_none(kube: FakeKube, api: KubeApi) -> None:
    assert await api.get(SUBJECT, deadline=soon()) is None
    assert await api.patch(SUBJECT, [], deadline=soon()) is None


async def test_a_listing_is_read_page_by_page_over_one_connection(kube: FakeKube, api: KubeApi, monkeypatch) -> None:
    monkeypatch.setattr(module, "PAGE_OBJECTS", 10)
    for number in range(25):
        kube.put_attachment(f"csi-{number:02}", "n" if number % 2 else "other")

    def keep(found: dict) -> str | None:
        return found["metadata"]["name"] if found["spec"]["nodeName"] == "n" else None

    assert await api.collect(ALL, keep, deadline=soon()) == tuple(f"csi-{number:02}" for number in range(1, 25, 2))
    assert kube.count("GET", ATTACHMENTS) == 3
    assert kube.connections == 1


async def test_a_listing_whose_state_is_gone_is_begun_again_and_not_for_ever(
    kube: FakeKube, api: KubeApi, monkeypatch
) -> None:
    monkeypatch.setattr(module, "PAGE_OBJECTS", 1)
    for name in ("a", "b"):
        kube.put_attachment(name, "n")
    kube.expired = 1
    assert len(await api.collect(ALL, lambda found: found, deadline=soon())) == 2
    kube.expired = 100
    with pytest.raises(CsiError, match="answered 410"):
        await api.collect(ALL, lambda found: found, deadline=soon())


async def test_an_answer_without_an_end_is_cut_off(kube: FakeKube, api: KubeApi, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 1000)
    kube.put_node("n", providerID="x" * 2000)
    with pytest.raises(CsiError, match="more than 1000 bytes"):
        await api.get(SUBJECT, deadline=soon())


async def test_a_server_that_the_ca_does_not_vouch_for_gets_no_token(kube: FakeKube, tmp_path: Path) -> None:
    make_certificate(tmp_path, "/CN=other")
    (tmp_path / "token").write_text(TOKEN)
    stranger = KubeApi(host="127.0.0.1", port=kube.port, account_dir=tmp_path)
    with pytest.raises(CsiError) as caught:
        await stranger.get(SUBJECT, deadline=soon())
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME
    assert kube.asked == []


async def test_an_api_that_is_away_is_an_unknown_outcome(account_dir: Path) -> None:
    api = KubeApi(host="127.0.0.1", port=1, account_dir=account_dir)
    with pytest.raises(CsiError) as caught:
        await api.get(SUBJECT, deadline=soon())
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME


async def test_an_account_that_is_not_there_yet_is_an_unknown_outcome(kube: FakeKube, tmp_path: Path) -> None:
    api = KubeApi(host="127.0.0.1", port=kube.port, account_dir=tmp_path)
    with pytest.raises(CsiError) as caught:
        await api.get(SUBJECT, deadline=soon())
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME


async def test_an_api_that_hangs_is_bounded(account_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = KubeApi(host="127.0.0.1", port=silent.getsockname()[1], account_dir=account_dir)
        with pytest.raises(CsiError) as caught:
            await api.get(SUBJECT, deadline=soon(0.05))
    assert caught.value.kind is ErrorKind.TIMEOUT


@contextlib.contextmanager
def dripping(account_dir: Path, ended: threading.Event) -> Iterator[int]:
    """Serve an answer that never ends, one byte at a time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(account_dir / "ca.crt", account_dir / "key")

    def serve() -> None:
        with contextlib.suppress(OSError), context.wrap_socket(listening.accept()[0], server_side=True) as client:
            client.recv(10_000)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while True:
                client.sendall(b" ")
                ended.wait(0.005)
        ended.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


async def test_a_server_that_drips_holds_neither_the_caller_nor_its_thread(account_dir: Path) -> None:
    ended = threading.Event()
    with dripping(account_dir, ended) as port:
        api = KubeApi(host="127.0.0.1", port=port, account_dir=account_dir)
        with pytest.raises(CsiError) as caught:
            await api.get(SUBJECT, deadline=soon(0.1))
        assert caught.value.kind is ErrorKind.TIMEOUT
        # The server sees the connection closed, which only the thread that reads from it does.
        assert await asyncio.to_thread(ended.wait, 10)


def test_outside_of_a_pod_there_is_no_api(account_dir: Path, tmp_path: Path) -> None:
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert in_cluster(inside, account_dir=account_dir) is not None
    assert in_cluster({}, account_dir=account_dir) is None
    assert in_cluster({**inside, "KUBERNETES_SERVICE_PORT": "x"}, account_dir=account_dir) is None
    assert in_cluster(inside, account_dir=tmp_path) is None
