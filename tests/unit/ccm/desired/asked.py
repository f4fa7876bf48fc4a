"""What comes of a service, in few words."""

from typing import Any

from ccm.annotations.kinds import CertificateRef
from ccm.kube.model import Service
from ccm.model import HealthCheck, Listener
from ccm.names import BALANCER_PREFIX
from ccm.notices import Reason
from tests.unit.ccm.desired.made import outcome, wanted

CERT = CertificateRef("shop")
SECRET = CertificateRef("shop-tls", is_secret=True)
IDS = {CERT: "c1", SECRET: "c2"}
KUBE_PROXY = HealthCheck(protocol="http", port=10256, path="/healthz", codes="200-299")


def listener(of: Service, number: int = 80, protocol: str = "tcp", **more: Any) -> Listener:
    found = wanted(of, **more)
    (one,) = [one for one in found.group.listeners if one.name == f"{protocol}-{number}"]
    return one


def refused(of: Service, **more: Any) -> list[Reason]:
    found = outcome(of, **more)
    assert found.wanted is None
    return [one.reason for one in found.refusals]


def told(of: Service, **more: Any) -> dict[str, Reason]:
    return {one.key.removeprefix(BALANCER_PREFIX): one.reason for one in outcome(of, **more).notices}
