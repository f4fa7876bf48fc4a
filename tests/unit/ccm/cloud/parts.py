"""Values that the tests of the adapters are made of."""

from dataclasses import replace

from ccm.cloud.platform import open_cloud
from ccm.model import Group, HealthCheck, Listener, NewBalancer, Protocol, Shape, Target
from ccm.names import CLUSTER_TAG, SERVICE_TAG, SERVICE_UID_TAG
from ccm.ports import Cloud
from tests.unit.ccm.cloud.fake_platform import FakePlatform
from thecloud.client import Client

CLUSTER = "prod-1"
MARK = (CLUSTER_TAG, CLUSTER)
UID = "0b1c2d3e-1111-4222-8333-444455556666"
OTHER_UID = "0b1c2d3e-1111-4222-8333-444455557777"
WEB = Listener(name="web", protocol=Protocol.HTTP, port=80, target_port=30080)
API = Listener(name="api", protocol=Protocol.HTTP, port=8080, target_port=30090)
CHECKED = replace(
    WEB, protocol=Protocol.TCP, health_check=HealthCheck(protocol="http", port=10256, path="/healthz", codes="200-299")
)


def new(*listeners: Listener, targets: tuple[Target, ...] = (), uid: str = UID, **fields: object) -> NewBalancer:
    made = NewBalancer(
        name=f"svc-{uid[-4:]}",
        shape=Shape(),
        size="",
        tags={CLUSTER_TAG: CLUSTER, SERVICE_UID_TAG: uid, SERVICE_TAG: "default/web"},
        group=Group(name=uid, listeners=listeners or (WEB,), targets=targets),
        idempotency_key=f"key-{uid[-4:]}",
    )
    return replace(made, **fields)


def targets(*instance_ids: str) -> tuple[Target, ...]:
    return tuple(Target(one) for one in sorted(instance_ids))


def cloud_on(client: Client, *, address: str = "") -> Cloud:
    return open_cloud(client, cluster_id=CLUSTER, strict_address=address)


def strict() -> FakePlatform:
    return FakePlatform(tier="strict")
