import pytest

from ccm.desired.status import is_published, wanted_ingress
from ccm.kube.model import Ingress, LoadBalancerStatus, Service, ServiceStatus
from ccm.model import Balancer, BalancerAddress, BalancerState
from tests.unit.ccm.desired.made import service, wanted


def balancer(*addresses: str, state: BalancerState = BalancerState.ACTIVE) -> Balancer:
    return Balancer(id="lb", name="n", state=state, addresses=tuple(BalancerAddress(one) for one in addresses))


def test_addresses_in_the_order_of_the_services_families():
    both = balancer("192.0.2.1", "2001:db8::1")
    four = wanted(service(ip_families=("IPv4", "IPv6")))
    six = wanted(service(ip_families=("IPv6", "IPv4"), own={"proxy-protocol": "v2"}))
    assert wanted_ingress(four, both) == (
        Ingress(ip="192.0.2.1", ip_mode="VIP"),
        Ingress(ip="2001:db8::1", ip_mode="VIP"),
    )
    assert wanted_ingress(six, both) == (
        Ingress(ip="2001:db8::1", ip_mode="Proxy"),
        Ingress(ip="192.0.2.1", ip_mode="Proxy"),
    )


def test_a_host_name_takes_the_addresses_place_and_has_no_mode():
    found = wanted(service(own={"hostname": "a.example"}))
    assert wanted_ingress(found, balancer("192.0.2.1")) == (Ingress(hostname="a.example"),)


def test_what_is_not_there_is_not_published():
    assert wanted_ingress(wanted(service()), None) == ()
    assert wanted_ingress(wanted(service()), balancer()) == ()
    assert wanted_ingress(wanted(service()), balancer("192.0.2.1", state=BalancerState.GOING)) == ()


VIP = Ingress(ip="192.0.2.1", ip_mode="VIP")


@pytest.mark.parametrize(
    ("there", "want", "same"),
    [
        ((), (), True),
        ((VIP,), (VIP,), True),
        ((Ingress(ip="192.0.2.1"),), (VIP,), True),
        ((Ingress(ip="192.0.2.1", ip_mode="Proxy"),), (VIP,), False),
        ((), (VIP,), False),
        ((VIP,), (), False),
        ((Ingress(ip="192.0.2.2", ip_mode="VIP"),), (VIP,), False),
        ((Ingress(hostname="a.example"),), (Ingress(hostname="a.example"),), True),
        ((Ingress(hostname="a.example"),), (Ingress(hostname="b.example"),), False),
        ((VIP, VIP), (VIP,), False),
    ],
)
def test_when_a_status_says_so_already(there: tuple[Ingress, ...], want: tuple[Ingress, ...], same: bool):
    of = Service(metadata=service().metadata, status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=there)))
    assert is_published(of, want) is same
