"""What a real server writes is read, its nulls included."""

import json

import msgspec
import pytest

from ccm.kube.model import Lease, Node, Service


@pytest.mark.parametrize("kind", [Node, Service, Lease])
def test_nulls_read_as_nothing(kind):
    meta = {"name": "a", "creationTimestamp": None, "labels": None, "annotations": None, "finalizers": None}
    spec = {"taints": None, "ports": None, "podCIDRs": None, "loadBalancerSourceRanges": None, "ipFamilies": None}
    condition = {"type": "Ready", "status": "True", "lastHeartbeatTime": None, "lastTransitionTime": None}
    status = {"addresses": None, "conditions": [condition], "loadBalancer": {"ingress": None}}
    found = msgspec.json.decode(json.dumps({"metadata": meta, "spec": spec, "status": status}), type=kind)
    assert (found.key, found.labels, found.annotations, found.finalizers) == ("a", {}, {}, ())
    assert not found.is_going
    if kind is Node:
        assert (found.taints, found.addresses, found.ready) == ((), (), "True")
    if kind is Service:
        assert (found.ports, found.ingress) == ((), ())
