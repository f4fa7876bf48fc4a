"""The composition root of `tc-ccm`: settings → clients → caches → controllers.

    tc-ccm --platform-url … --cluster-id … [--kubeconfig FILE] [--controllers '*']

Belongs here: wiring. Does not belong here: any rule.
"""

import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccm import program
from ccm.autoscaler.app import AutoscalerSettings, ListenError
from ccm.autoscaler.app import serve as serve_autoscaler
from ccm.autoscaler.certificates import CertificateError, CertificateFiles
from ccm.autoscaler.config_map import ConfigMapStore
from ccm.cloud.machines import CloudMachines
from ccm.cloud.platform import open_cloud
from ccm.controllers.absence import Limit, Proof
from ccm.controllers.lifecycle import LifecycleController, LifecycleSettings
from ccm.controllers.node import NodeController, NodeSettings
from ccm.controllers.orphans import SweepRules
from ccm.controllers.service import ServiceController, ServiceRules
from ccm.controllers.shutdown import ShutdownSettings
from ccm.desired.wanted import Cluster
from ccm.kube.kinds import NODES, SECRETS, SERVICES
from ccm.kube.model import Node, Secret, Service
from ccm.kube.queue import WorkQueue
from ccm.kube.reflector import Reflector
from ccm.kube.store import Store
from ccm.leadership import Task
from ccm.ports import Cloud
from ccm.program import Manager, Surroundings
from ccm.selection import LIFECYCLE, NODE, ROUTE, SERVICE
from ccm.settings import ManagerSettings
from thecloud.client import Client

LOG = logging.getLogger("ccm.app")

NODE_RETRY_MIN_S, NODE_RETRY_MAX_S = 0.2, 60.0


@dataclass(frozen=True, slots=True)
class Caches:
    """What Kubernetes has, kept by every process so that the next leader can begin at once."""

    nodes: Store[Node]
    services: Store[Service]
    reflectors: tuple[Reflector[Node], Reflector[Service]]

    @property
    def is_complete(self) -> bool:
        """Say whether everything has been listed once."""
        return all(one.is_synced for one in self.reflectors)

    def after(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Task:
        """Give the work so that it begins when everything has been listed once."""

        async def waiting() -> None:
            for one in self.reflectors:
                await one.synced()
            await work()

        return waiting


@asynccontextmanager
async def build(settings: ManagerSettings, around: Surroundings) -> AsyncIterator[Manager]:
    """Open the platform and wire everything that works; closes the platform afterwards."""
    nodes, services = Store[Node](), Store[Service]()
    client = around.standing_client
    caches = Caches(nodes, services, (Reflector(client, NODES, nodes), Reflector(client, SERVICES, services)))
    async with Client(settings.platform(), observer=around.metrics.platform_called) as platform:
        cloud = open_cloud(platform, cluster_id=settings.cluster_id, strict_address=settings.load_balancer_address)
        leading: dict[str, Task] = {}
        if settings.runs(NODE):
            leading[NODE] = caches.after(_node_controller(settings, around, nodes, cloud).run)
        if settings.runs(LIFECYCLE):
            leading[LIFECYCLE] = caches.after(_lifecycle_controller(settings, around, nodes, cloud).run)
        if settings.runs(SERVICE):
            leading[SERVICE] = caches.after(_service_controller(settings, around, caches, cloud).run)
        if settings.runs(ROUTE) and settings.configure_cloud_routes and settings.cluster_cidr:
            LOG.info("no routes are kept: the platform has none to an instance; use an overlay network for the pods")
        if settings.autoscaler_endpoint is not None:
            address = settings.autoscaler_endpoint.authority
            leading["autoscaler"] = _autoscaler(settings, address, around, platform, cloud)
        yield Manager(
            standing={"cache of nodes": caches.reflectors[0].run, "cache of services": caches.reflectors[1].run},
            leading=leading,
            ready={"caches": lambda: "" if caches.is_complete else "nodes and services are being listed"},
        )


def _node_controller(
    settings: ManagerSettings, around: Surroundings, nodes: Store[Node], cloud: Cloud
) -> NodeController:
    # A node that has just joined keeps pods waiting, so that the first tries follow each other closely.
    queue = WorkQueue(
        "Nodes",
        min_delay_s=NODE_RETRY_MIN_S,
        max_delay_s=NODE_RETRY_MAX_S,
        observer=around.metrics.queue("Nodes"),
    )
    return NodeController(
        nodes,
        around.client,
        cloud.instances,
        around.events,
        queue,
        settings=NodeSettings(
            workers=settings.concurrent_node_syncs, sync_period_s=settings.node_status_update_frequency_s
        ),
        metrics=around.metrics,
    )


def _lifecycle_controller(
    settings: ManagerSettings, around: Surroundings, nodes: Store[Node], cloud: Cloud
) -> LifecycleController:
    return LifecycleController(
        nodes,
        around.client,
        cloud.instances,
        around.events,
        settings=LifecycleSettings(
            period_s=settings.node_monitor_period_s,
            proof=Proof(answers=settings.absence_confirmations, over_s=settings.absence_time_s),
            limit=Limit(fraction=settings.absence_breaker_fraction, floor=settings.absence_breaker_floor),
            shutdown=ShutdownSettings(out_of_service_after_s=settings.out_of_service_after_s),
        ),
        metrics=around.metrics,
    )


def _service_controller(
    settings: ManagerSettings, around: Surroundings, caches: Caches, cloud: Cloud
) -> ServiceController:
    async def read_secret(namespace: str, name: str, deadline: float) -> Secret | None:
        return await around.client.get(SECRETS, name, namespace, deadline=deadline)

    rules = service_rules(settings)
    return ServiceController(
        services=caches.services,
        nodes=caches.nodes,
        client=around.client,
        read_secret=read_secret,
        cloud=cloud,
        recorder=around.events,
        rules=rules,
        is_complete=lambda: caches.is_complete,
        metrics=around.metrics,
        queue=WorkQueue(
            "service",
            min_delay_s=rules.retry_min_s,
            max_delay_s=rules.retry_max_s,
            observer=around.metrics.queue("service"),
        ),
    )


def service_rules(settings: ManagerSettings) -> ServiceRules:
    """Give the rules of the service controller that the settings ask for."""
    return ServiceRules(
        cluster=Cluster(
            id=settings.cluster_id, vpc_id=settings.load_balancer_vpc, default_size=settings.load_balancer_size
        ),
        our_class=settings.load_balancer_class,
        workers=settings.concurrent_service_syncs,
        drift_period_s=settings.drift_period_s,
        sweep=SweepRules(grace_s=settings.orphan_grace_s, deletes=settings.delete_orphans),
    )


def _autoscaler(settings: ManagerSettings, address: str, around: Surroundings, platform: Client, cloud: Cloud) -> Task:
    """Serve the cluster autoscaler while leading: two of them would launch every machine twice."""
    bridge = AutoscalerSettings(
        cluster_id=settings.cluster_id,
        listen=address,
        groups_file=settings.autoscaler_groups_file or Path(),
        tls=_autoscaler_tls(settings),
        allow_plaintext=settings.autoscaler_allow_plaintext,
        client_names=frozenset(settings.autoscaler_client_names),
        name_prefix=settings.autoscaler_name_prefix,
        provision_limit_s=settings.autoscaler_provision_limit_s,
    )
    machines = CloudMachines(platform.launches, cloud.instances, cluster_id=settings.cluster_id)
    store = ConfigMapStore(around.client, namespace=settings.autoscaler_namespace)
    return lambda: serve_autoscaler(bridge, machines=machines, store=store)


def _autoscaler_tls(settings: ManagerSettings) -> CertificateFiles | None:
    certificate, key = settings.autoscaler_cert_file, settings.autoscaler_key_file
    authority = settings.autoscaler_client_ca_file
    if certificate is None or key is None or authority is None:
        return None
    return CertificateFiles(certificate, key, authority)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; gives its exit code."""
    return program.main(build, argv, explained=(CertificateError, ListenError))


if __name__ == "__main__":
    sys.exit(main())
