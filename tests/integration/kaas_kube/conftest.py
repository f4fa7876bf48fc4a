"""One API server for all tests of this folder, which knows conductors by their certificate; tests use own names."""

import asyncio
import contextlib
import random
import string
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kaas.domain.ports import KubeAccess
from kaas.kube.api import KubeApi
from kaas.kube.client import Connection
from tests.support.certificates import make_loopback_certificate
from tests.support.cluster_access import Authority
from tests.support.ports import free_port
from tests.support.real_api import MISSING_API, RealApi


@dataclass
class CertificateApi(RealApi):
    """Takes client certificates and bootstrap tokens, as kubeadm sets it up."""

    def _start(self, name: str, *arguments: str) -> None:
        if name == "kube-apiserver":
            clients = f"--client-ca-file={self.folder / 'clients.crt'}"
            arguments += (clients, "--enable-bootstrap-token-auth", "--allow-privileged=true")
        super()._start(name, *arguments)


@dataclass
class Cluster:
    """The API server and what conductors have of it."""

    api: CertificateApi
    clients: Authority

    def access(self, organisation: str = "system:masters") -> KubeAccess:
        ca_pem = (self.api.folder / "ca.crt").read_bytes()
        return self.clients.access(self.api.url, organisation=organisation, ca_pem=ca_pem)


@contextlib.contextmanager
def certificate_api(folder: Path) -> Iterator[Cluster]:
    make_loopback_certificate(folder)
    clients = Authority("clients")
    (folder / "clients.crt").write_bytes(clients.pem)
    api = CertificateApi(folder, free_port(), free_port())
    try:
        api.start_etcd()
        api.start_api()
        yield Cluster(api, clients)
    finally:
        api.stop("kube-apiserver", by_force=True)
        api.stop("etcd")


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if MISSING_API:
        pytest.skip(MISSING_API)
    with certificate_api(tmp_path_factory.mktemp("kaas-api")) as running:
        yield running


@pytest.fixture(scope="package")
def access(cluster: Cluster) -> KubeAccess:
    return cluster.access()


@pytest.fixture
async def kube() -> AsyncIterator[KubeApi]:
    async with KubeApi(pause_s=0.1) as api:
        yield api


@pytest.fixture
async def raw(access: KubeAccess) -> AsyncIterator[Connection]:
    """To look at what is there, and to play a kubelet."""
    connection = Connection(access)
    yield connection
    await connection.close()


@pytest.fixture
def name() -> str:
    return "t-" + "".join(random.choices(string.ascii_lowercase, k=8))


def by(seconds: float = 50.0) -> float:
    return asyncio.get_running_loop().time() + seconds
