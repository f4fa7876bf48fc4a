"""Puts the bridge together and serves it: `serve`, with the platform and the store given by the caller."""

import asyncio
import contextlib
import ipaddress
import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio

from ccm.autoscaler.certificates import CertificateFiles, Certificates
from ccm.autoscaler.definitions import GroupsFile
from ccm.autoscaler.fleet import Fleet
from ccm.autoscaler.groups import Groups
from ccm.autoscaler.interceptor import Interceptor
from ccm.autoscaler.ledger import Ledger
from ccm.autoscaler.ports import Machines, TargetStore
from ccm.autoscaler.pricing import Prices
from ccm.autoscaler.reconcile import Pace, Reconciler
from ccm.autoscaler.servicer import AutoscalerServicer
from ccm.pb.externalgrpc_pb2_grpc import add_CloudProviderServicer_to_server

LOG = logging.getLogger("ccm.autoscaler")

_MAX_MESSAGE_BYTES = 4 << 20
_UNIX = "unix:"


class ListenError(Exception):
    """The address cannot be served; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoscalerSettings:
    """Settings of the bridge."""

    cluster_id: str
    listen: str
    """`host:port` or `unix:/path`."""
    groups_file: Path
    tls: CertificateFiles | None = None
    """None serves plain text, which needs `allow_plaintext`."""
    allow_plaintext: bool = False
    """Whoever may connect may delete machines: on loopback and Unix sockets only."""
    client_names: frozenset[str] = frozenset()
    """Names of which a caller's certificate must carry one; empty: any that the authority signed."""
    name_prefix: str = ""
    """Of instance names; empty: the beginning of the cluster's id."""
    gpu_label: str = "thecloud.io/gpu"
    provision_limit_s: float = 900.0
    """How long an instance may take to come up before a failure is not that of its creation any more."""
    grace_s: float = 5.0
    """Time that running calls get at the end."""
    pace: Pace = field(default_factory=Pace)

    def problems(self) -> list[str]:
        """Name everything that is wrong; empty when nothing is."""
        found = []
        if not self.cluster_id:
            found.append("the cluster's id must not be empty: instances are told apart by it")
        if self.tls is None and not self.allow_plaintext:
            found.append("TLS needs a certificate, a key and the authority of the callers")
        if self.tls is None and self.allow_plaintext and not _is_local(self.listen):
            found.append(f"{self.listen}: plain text is served on loopback addresses and Unix sockets only")
        if self.tls is None and self.client_names:
            found.append("names of callers are told by their certificates, and plain text has none")
        return found


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge that serves."""

    port: int
    """The TCP port; what gRPC says for a Unix socket is of no use."""
    reconciler: Reconciler
    certificates: Certificates | None


@contextlib.asynccontextmanager
async def bridge(settings: AutoscalerSettings, *, machines: Machines, store: TargetStore) -> AsyncIterator[Bridge]:
    """Serve while the block runs; machines are launched and terminated by `Bridge.reconciler.run` only.

    Raises ValueError naming every wrong setting, CertificateError, and ListenError when the address is taken.
    """
    if problems := settings.problems():
        raise ValueError("; ".join(problems))
    fleet, work = Fleet(), asyncio.Event()
    ledger = Ledger(store, new_id=_new_id)
    groups = Groups(
        cluster_id=settings.cluster_id,
        definitions=GroupsFile(settings.groups_file),
        ledger=ledger,
        machines=machines,
        fleet=fleet,
        wake=work.set,
        provision_limit_s=settings.provision_limit_s,
    )
    reconciler = Reconciler(
        cluster_id=settings.cluster_id,
        name_prefix=settings.name_prefix or settings.cluster_id[:12],
        groups=groups,
        ledger=ledger,
        machines=machines,
        fleet=fleet,
        new_id=_new_id,
        work=work,
        pace=settings.pace,
    )
    server = grpc.aio.server(interceptors=[Interceptor(client_names=settings.client_names)], options=_options())
    servicer = AutoscalerServicer(groups, Prices(machines), gpu_label=settings.gpu_label)
    add_CloudProviderServicer_to_server(servicer, server)
    certificates = Certificates(settings.tls) if settings.tls is not None else None
    try:
        port = _bind(server, settings.listen, await certificates.credentials() if certificates is not None else None)
        await server.start()
        LOG.info("serving node groups at %s", settings.listen)
        yield Bridge(port, reconciler, certificates)
    finally:
        await server.stop(settings.grace_s)


async def serve(settings: AutoscalerSettings, *, machines: Machines, store: TargetStore) -> None:
    """Serve, and keep the machines as wanted, until cancelled. One at a time for a cluster.

    Raises what `bridge` raises.
    """
    async with bridge(settings, machines=machines, store=store) as serving, asyncio.TaskGroup() as tasks:
        tasks.create_task(serving.reconciler.run(), name="autoscaler reconciler")
        if serving.certificates is not None:
            tasks.create_task(serving.certificates.watch(), name="autoscaler certificates")


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise ListenError(f"{address}: cannot listen there; is the address free and ours?") from error


def _is_local(address: str) -> bool:
    if address.startswith(_UNIX):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # Whatever `localhost` means is decided elsewhere.
        return False


def _new_id() -> str:
    return uuid.uuid4().hex


def _options() -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", -1),
        # Without this a second one would share the port silently and get half of the calls.
        ("grpc.so_reuseport", 0),
    ]
