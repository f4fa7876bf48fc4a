"""The one question to the Kubernetes API, against a real HTTPS server on this machine."""

import asyncio
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from csi.errors import CsiError, ErrorKind
from node.kube import KubeNodes, NodeObject, in_cluster

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the test certificate")


class Api:
    """What the server answers and what it was asked."""

    status = 200
    body: bytes = b"{}"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []


def make_certificate(folder: Path, subject: str, *more: str) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(folder / "key"))
    argv = ["openssl", "req", "-x509", *key, "-out", str(folder / "ca.crt"), "-days", "1", "-subj", subject, *more]
    subprocess.run(argv, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("account")
    make_certificate(folder, "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1")
    (folder / "token").write_text("secret-token\n")
    return folder


@pytest.fixture
def api(certificate: Path) -> Iterator[tuple[Api, KubeNodes]]:
    answers = Api()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.asked.append((self.path, self.headers["Authorization"]))
            self.send_response(answers.status)
            self.send_header("Content-Length", str(len(answers.body)))
            self.end_headers()
            self.wfile.write(answers.body)

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "ca.crt", certificate / "key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield answers, KubeNodes(host="127.0.0.1", port=server.server_port, account_dir=certificate)
    server.shutdown()
    thread.join()
    server.server_close()


def soon() -> float:
    return asyncio.get_running_loop().time() + 10


async def test_provider_id_and_zone_are_read_with_the_service_account(api) -> None:
    answers, nodes = api
    labels = {"topology.kubernetes.io/zone": "z1"}
    answers.body = json.dumps({"spec": {"providerID": "thecloud://x"}, "metadata": {"labels": labels}}).encode()
    assert await nodes.get("worker 1/x", deadline=soon()) == NodeObject("thecloud://x", "z1")
    assert answers.asked == [("/api/v1/nodes/worker%201%2Fx", "Bearer secret-token")]


@pytest.mark.parametrize("node", [{}, {"spec": None}, {"spec": {"providerID": 5}, "metadata": {"labels": []}}])
async def test_a_node_that_says_nothing_gives_empty_texts(api, node) -> None:
    answers, nodes = api
    answers.body = json.dumps(node).encode()
    assert await nodes.get("n", deadline=soon()) == NodeObject("", "")


async def test_a_node_that_the_cloud_controller_has_not_initialised_is_told_apart(api) -> None:
    answers, nodes = api
    taint = {"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"}
    for taints, expected in (([{"key": "other"}, taint], True), ([{"key": "other"}, None, 5], False), ("x", False)):
        answers.body = json.dumps({"spec": {"taints": taints}}).encode()
        assert (await nodes.get("n", deadline=soon())).is_uninitialized is expected


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"", ErrorKind.PRECONDITION),
        (403, b"", ErrorKind.PRECONDITION),
        (404, b"", ErrorKind.PRECONDITION),
        (500, b"", ErrorKind.UNKNOWN_OUTCOME),
        (200, b"not json", ErrorKind.UNKNOWN_OUTCOME),
        (200, b"[]", ErrorKind.UNKNOWN_OUTCOME),
    ],
)
async def test_what_is_no_node_is_an_error_without_the_token(api, status: int, body: bytes, kind: ErrorKind) -> None:
    answers, nodes = api
    answers.status, answers.body = status, body
    with pytest.raises(CsiError) as caught:
        await nodes.get("n", deadline=soon())
    assert caught.value.kind is kind
    assert "secret-token" not in caught.value.message


async def test_a_server_that_the_ca_does_not_vouch_for_gets_no_token(api, certificate: Path, tmp_path: Path) -> None:
    answers, nodes = api
    make_certificate(tmp_path, "/CN=other")
    (tmp_path / "token").write_text("secret-token")
    stranger = KubeNodes(host="127.0.0.1", port=nodes._port, account_dir=tmp_path)
    with pytest.raises(CsiError) as caught:
        await stranger.get("n", deadline=soon())
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME
    assert answers.asked == []


async def test_an_api_that_is_away_is_an_unknown_outcome(certificate: Path) -> None:
    nodes = KubeNodes(host="127.0.0.1", port=1, account_dir=certificate)
    with pytest.raises(CsiError) as caught:
        await nodes.get("n", deadline=soon())
    assert caught.value.kind is ErrorKind.UNKNOWN_OUTCOME


async def test_an_api_that_hangs_is_bounded(certificate: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nodes = KubeNodes(host="127.0.0.1", port=silent.getsockname()[1], account_dir=certificate)
        with pytest.raises(CsiError) as caught:
            await nodes.get("n", deadline=asyncio.get_running_loop().time() + 0.05)
    assert caught.value.kind in {ErrorKind.TIMEOUT, ErrorKind.UNKNOWN_OUTCOME}


def test_outside_of_a_pod_there_is_no_api(certificate: Path, tmp_path: Path) -> None:
    inside = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert in_cluster(inside, account_dir=certificate) is not None
    assert in_cluster({}, account_dir=certificate) is None
    assert in_cluster({**inside, "KUBERNETES_SERVICE_PORT": "x"}, account_dir=certificate) is None
    assert in_cluster(inside, account_dir=tmp_path) is None
