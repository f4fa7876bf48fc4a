"""Three control planes behind one address."""

import contextlib
import json

import pytest

from tests.e2e.cluster.errors import ClusterError
from tests.e2e_kaas.person import Cluster, a_cluster, things_left, until
from tests.e2e_kaas.place import Place

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.thorough]

_PKI = "/etc/kubernetes/pki/etcd"
_ETCDCTL = ("etcdctl", f"--cacert={_PKI}/ca.crt", f"--cert={_PKI}/server.crt", f"--key={_PKI}/server.key")


async def test_one_of_three_control_planes_is_lost(place: Place) -> None:
    """The API answers all the time, the lost one is replaced by itself, and etcd has three members again."""
    async with a_cluster(place, "ha", "--ha", "--workers", "1") as cluster:
        planes = [f"ha-control-plane-{number}" for number in range(4)]
        worker = "ha-default-pool-0"
        assert await cluster.nodes() == dict.fromkeys([*planes[:3], worker], "True")
        await cluster.destroy_machine(planes[0])
        answers: list[bool] = []

        async def is_replaced() -> bool:
            done = await cluster.kube.try_run("get", "--raw", "/readyz", "--request-timeout=10s")
            answers.append(done.exit_code == 0)
            with contextlib.suppress(ClusterError):
                return set(await cluster.nodes()) == {*planes[1:], worker}
            return False

        await until(is_replaced, "another control plane in place of the lost one", limit_s=600)
        # The balancer may send one more request to it before it notices.
        assert answers.count(False) <= 1, answers
        await cluster.settled(*planes[1:], worker)
        assert await _etcd_members(cluster, planes[1]) == set(planes[1:])
    assert await things_left(place) == []


async def _etcd_members(cluster: Cluster, plane: str) -> set[str]:
    """Give the names of etcd's members, as the one on a control plane has them."""
    words = ("exec", "-n", "kube-system", f"etcd-{plane}", "--", *_ETCDCTL, "member", "list", "--write-out=json")
    return {member["name"] for member in json.loads(await cluster.kube.run(*words))["members"]}
