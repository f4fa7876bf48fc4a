"""The authorities of one cluster, made before its first machine: kubeadm takes what it finds and signs the rest.

Because they are ours, a control plane can join years later, and access can be issued while the cluster is down.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from kaas.crypto.certificates import KeyPair, new_authority, new_signing_keys, public_key_hash
from kaas.domain import names
from kaas.domain.errors import Code, KaasError
from kaas.domain.ports import RemoteFile

PKI_FOLDER = "/etc/kubernetes/pki"
_FORMAT = 1
_PUBLIC, _PRIVATE = 0o644, 0o600


@dataclass(frozen=True, slots=True)
class Pki:
    """All that a cluster trusts and signs with; sealed as one secret."""

    cluster: KeyPair
    etcd: KeyPair
    front_proxy: KeyPair
    service_account_public_pem: bytes
    service_account_private_pem: bytes = field(repr=False)

    @property
    def ca_cert_hash(self) -> str:
        """What nodes that join pin the cluster by, as kubeadm wants it: `sha256:…`."""
        return public_key_hash(self.cluster.cert_pem)

    def to_bytes(self) -> bytes:
        """Write it, private keys included: for sealing only."""
        document = {
            "version": _FORMAT,
            **{name: pem.decode("ascii") for name, pem in _pems(self).items()},
        }
        return json.dumps(document).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Pki":
        """Read what `to_bytes` wrote. Raises KaasError (BUG) when it is something else."""
        # Any of these would quote keys, so none of them becomes the cause of what is raised.
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            document = json.loads(content)
            if document.pop("version") == _FORMAT:
                pems = {name: pem.encode("ascii") for name, pem in document.items()}
                return cls(
                    cluster=KeyPair(pems["ca.crt"], pems["ca.key"]),
                    etcd=KeyPair(pems["etcd/ca.crt"], pems["etcd/ca.key"]),
                    front_proxy=KeyPair(pems["front-proxy-ca.crt"], pems["front-proxy-ca.key"]),
                    service_account_public_pem=pems["sa.pub"],
                    service_account_private_pem=pems["sa.key"],
                )
        raise KaasError(Code.BUG, "the stored PKI of a cluster cannot be read")


async def new_pki(cluster_id: str) -> Pki:
    """Make all authorities of a cluster, each with a subject of its own that names the cluster."""
    return await asyncio.to_thread(_new_pki, cluster_id)


def control_plane_files(pki: Pki) -> Mapping[str, RemoteFile]:
    """Give what a control plane has before kubeadm runs, by path."""
    return {
        f"{PKI_FOLDER}/{name}": RemoteFile(pem, _PRIVATE if name.endswith(".key") else _PUBLIC)
        for name, pem in _pems(pki).items()
    }


def _new_pki(cluster_id: str) -> Pki:
    mark = names.short(cluster_id)
    public, private = new_signing_keys()
    return Pki(
        cluster=new_authority(f"kubernetes-ca-{mark}"),
        etcd=new_authority(f"etcd-ca-{mark}"),
        front_proxy=new_authority(f"front-proxy-ca-{mark}"),
        service_account_public_pem=public,
        service_account_private_pem=private,
    )


def _pems(pki: Pki) -> Mapping[str, bytes]:
    """Give all parts by their names below kubeadm's folder."""
    return {
        "ca.crt": pki.cluster.cert_pem,
        "ca.key": pki.cluster.key_pem,
        "etcd/ca.crt": pki.etcd.cert_pem,
        "etcd/ca.key": pki.etcd.key_pem,
        "front-proxy-ca.crt": pki.front_proxy.cert_pem,
        "front-proxy-ca.key": pki.front_proxy.key_pem,
        "sa.pub": pki.service_account_public_pem,
        "sa.key": pki.service_account_private_pem,
    }
