"""A real kube-apiserver on a real etcd, both on loopback, for what a fake can only claim."""

import contextlib
import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.cluster.binaries import tool_of
from tests.e2e.cluster.cache import Cache
from tests.support.cache import cache_folder
from tests.support.certificates import MISSING_OPENSSL, make_loopback_certificate
from tests.support.ports import free_port

TOKEN = "integration"
_READY_S = 120.0
_STOP_S = 20.0


def program(name: str) -> Path:
    """Where a program is, whether it was built or not."""
    return Cache(cache_folder()).path(tool_of(name).artefact) / name


MISSING_API = MISSING_OPENSSL or next(
    (f"{one} is not built: `make cluster` does" for one in ("etcd", "kube-apiserver") if not program(one).exists()),
    "",
)


@dataclass
class RealApi:
    """The two processes, and how to reach them."""

    folder: Path
    port: int
    etcd_port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """For a member of system:masters. Kubeconfigs are YAML, of which JSON is a part."""
        cluster = {"server": self.url, "certificate-authority": str(self.folder / "ca.crt")}
        content = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
        }
        path = self.folder / "kubeconfig"
        path.write_text(json.dumps(content))
        return path

    def start_etcd(self) -> None:
        peer, client = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{self.etcd_port}"
        more = (
            "--initial-cluster",
            f"default={peer}",
            "--initial-advertise-peer-urls",
            peer,
            "--listen-peer-urls",
            peer,
        )
        data = ("--data-dir", str(self.folder / "etcd"), "--unsafe-no-fsync", "--log-level", "error")
        self._start("etcd", *data, "--listen-client-urls", client, "--advertise-client-urls", client, *more)

    def start_api(self) -> None:
        """Start the API server and wait until it answers for the namespace `default`: `/readyz` is good before."""
        key = str(self.folder / "key")
        (self.folder / "tokens").write_text(f"{TOKEN},admin,1,system:masters\n")
        self._start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--tls-cert-file={self.folder / 'ca.crt'}",
            f"--tls-private-key-file={key}",
            f"--service-account-key-file={self.folder / 'ca.crt'}",
            f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={self.folder / 'tokens'}",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--service-cluster-ip-range=10.96.0.0/12",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self.folder / 'certificates'}",
            "-v=0",
        )
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        request = urllib.request.Request(
            f"{self.url}/api/v1/namespaces/default", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        deadline = time.monotonic() + _READY_S
        while True:
            try:
                with urllib.request.urlopen(request, context=context, timeout=5):
                    return
            except OSError as error:
                if self.processes["kube-apiserver"].poll() is not None or time.monotonic() > deadline:
                    log = (self.folder / "kube-apiserver.log").read_text(errors="replace")
                    raise RuntimeError(f"kube-apiserver does not answer: {error}\n{log[-3000:]}") from error
                time.sleep(0.2)

    def stop(self, name: str, *, by_force: bool = False) -> None:
        """End one of the processes."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        if by_force:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen([program(name), *arguments], stdout=log, stderr=log)


@contextlib.contextmanager
def real_api(folder: Path) -> Iterator[RealApi]:
    """Run both until the block ends."""
    make_loopback_certificate(folder)
    api = RealApi(folder, free_port(), free_port())
    try:
        api.start_etcd()
        api.start_api()
        yield api
    finally:
        api.stop("kube-apiserver", by_force=True)
        api.stop("etcd")
