"""A Kubernetes API in small, over real TLS: Nodes, CSINodes and VolumeAttachments as the node plugin asks for them.

It keeps what the real one promises for these: bearer tokens, pages with continue tokens, and JSON patches that happen
as a whole or not at all. The real kube-apiserver stands in the tests of a whole cluster.
"""

import contextlib
import copy
import http.server
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.certificates import make_loopback_certificate

DRIVER = "csi.thecloud.io"
NODES = "/api/v1/nodes"
CSI_NODES = "/apis/storage.k8s.io/v1/csinodes"
ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"
TOKEN = "secret-token"


@dataclass
class FakeKube:
    """The cluster: objects by collection and name, what was asked, and what goes wrong."""

    account_dir: Path
    port: int = 0
    objects: dict[str, dict[str, Any]] = field(default_factory=lambda: {NODES: {}, CSI_NODES: {}, ATTACHMENTS: {}})
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and path with query, in their order."""
    tokens: set[str] = field(default_factory=set)
    connections: int = 0
    failures: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Status and body to answer instead, by method and the start of the path: `GET /api/v1/nodes`."""
    before: Callable[[str, str], None] = lambda method, path: None
    """Called before each request is carried out, in a thread of the server."""
    expired: int = 0
    """How many continue tokens are answered as too old."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def environment(self) -> dict[str, str]:
        """What a pod's environment says about the API."""
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}

    def fail(self, request: str, status: int, body: bytes = b"") -> None:
        """Answer every request of this method and start of a path so from now on."""
        self.failures[request] = (status, body)

    def count(self, method: str, start: str = "/") -> int:
        """How often a method was used on paths that start so."""
        return sum(1 for asked, path in self.asked if asked == method and path.startswith(start))

    # The cluster's life

    def put_node(self, name: str, *taints: dict[str, Any], **spec: Any) -> None:
        """Make or replace a Node."""
        labels = spec.pop("labels", {})
        self._put(NODES, name, {"metadata": {"name": name, "labels": labels}, "spec": {**spec, "taints": list(taints)}})

    def taints(self, name: str) -> list[Any]:
        """The taints of a Node as they are now."""
        with self.lock:
            return copy.deepcopy(self.objects[NODES][name]["spec"]["taints"])

    def put_csi_node(self, name: str, *, count: int | None = 20, driver: str = DRIVER) -> None:
        """Make or replace a CSINode as the kubelet does; without a count, as it does for a driver without limits."""
        entry: dict[str, Any] = {"name": driver, "nodeID": name, "topologyKeys": None}
        if count is not None:
            entry["allocatable"] = {"count": count}
        other = {"name": "other.csi", "nodeID": name, "allocatable": {"count": 3}}
        self._put(CSI_NODES, name, {"metadata": {"name": name}, "spec": {"drivers": [other, entry]}})

    def put_attachment(self, name: str, node: str, *, driver: str = DRIVER, volume: str = "pv-1") -> None:
        """Make a VolumeAttachment."""
        spec = {"attacher": driver, "nodeName": node, "source": {"persistentVolumeName": volume}}
        self._put(ATTACHMENTS, name, {"metadata": {"name": name}, "spec": spec, "status": {"attached": True}})

    def drop(self, collection: str, name: str) -> None:
        """Delete an object."""
        with self.lock:
            self.objects[collection].pop(name, None)

    def _put(self, collection: str, name: str, found: dict[str, Any]) -> None:
        with self.lock:
            self.objects[collection][name] = found

    # Answers

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, Any]:
        path, _, query = target.partition("?")
        for request, failure in self.failures.items():
            if f"{method} {path}".startswith(request):
                return failure
        collection, _, name = path.rpartition("/")
        with self.lock:
            if path in self.objects:
                return self._list(path, urllib.parse.parse_qs(query))
            found = self.objects.get(collection, {}).get(urllib.parse.unquote(name))
            if found is None:
                return 404, {"kind": "Status", "code": 404, "reason": "NotFound"}
            if method == "GET":
                return 200, found
            changed = apply_patch(found, json.loads(body))
            if changed is None:
                return 422, {"kind": "Status", "code": 422, "reason": "Invalid"}
            self.objects[collection][urllib.parse.unquote(name)] = changed
            return 200, changed

    def _list(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        names = sorted(self.objects[path])
        after = query.get("continue", [""])[0]
        if after and self.expired:
            self.expired -= 1
            return 410, {"kind": "Status", "code": 410, "reason": "Expired"}
        left = [name for name in names if name > after]
        page = left[: int(query["limit"][0])]
        more = {"continue": page[-1]} if len(left) > len(page) else {}
        return 200, {"metadata": more, "items": [self.objects[path][name] for name in page]}


def apply_patch(found: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Apply a JSON patch (RFC 6902: test and remove); None when a part of it cannot be."""
    changed = copy.deepcopy(found)
    for operation in operations:
        *steps, last = (step.replace("~1", "/").replace("~0", "~") for step in operation["path"].split("/")[1:])
        try:
            parent: Any = changed
            for step in steps:
                parent = parent[int(step)] if isinstance(parent, list) else parent[step]
            key: Any = int(last) if isinstance(parent, list) else last
            if operation["op"] == "test" and parent[key] != operation["value"]:
                return None
            if operation["op"] == "remove":
                del parent[key]
        except (IndexError, KeyError):
            return None
    return changed


def make_account(folder: Path) -> Path:
    """Make what a pod's service account folder holds, and the server's key."""
    make_loopback_certificate(folder)
    (folder / "token").write_text(TOKEN + "\n")
    return folder


@contextlib.contextmanager
def fake_kube(account_dir: Path) -> Iterator[FakeKube]:
    """Serve the API on a free port of 127.0.0.1, with the account's certificate."""
    kube = FakeKube(account_dir)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            kube.connections += 1
            super().setup()

        def do_GET(self) -> None:
            self.respond(b"")

        def do_PATCH(self) -> None:
            assert self.headers["Content-Type"] == "application/json-patch+json"
            self.respond(self.rfile.read(int(self.headers["Content-Length"])))

        def respond(self, body: bytes) -> None:
            kube.asked.append((self.command, self.path))
            kube.tokens.add(self.headers["Authorization"])
            kube.before(self.command, self.path)
            status, found = kube.answer(self.command, self.path, body)
            content = found if isinstance(found, bytes) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    class TlsServer(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that leaves is no matter."""

        def finish_request(self, request: Any, address: Any) -> None:
            # The handshake belongs to the connection's own thread: a client that refuses must not stop the others.
            with contextlib.suppress(OSError), context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, address)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(account_dir / "ca.crt", account_dir / "key")
    server = TlsServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    kube.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield kube
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
