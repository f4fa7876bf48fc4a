"""What a namespace still lacks."""

import msgspec
import pytest

from kaas.kube.rollout import daemon_set, deployment, stateful_set, stuck_pods
from kaas.kube.wire import Pod, Workload
from tests.unit.kaas.kube.conftest import by
from tests.unit.kaas.kube.fake_server import items


def workload(status, *, name="w", **spec):
    return msgspec.convert(
        {
            "metadata": {"name": name, "namespace": "n", "generation": 2},
            "spec": spec,
            "status": {"observedGeneration": 2, **status},
        },
        Workload,
    )


DEPLOYED = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, ""),
        ({"observedGeneration": 1}, "its controller has not seen it yet"),
        ({"updatedReplicas": 1}, "1 of 2 pods are of its newest version"),
        ({"replicas": 3}, "1 pods of its old version are still there"),
        ({"availableReplicas": 0}, "0 of 2 pods are available"),
        (
            {
                "availableReplicas": 1,
                "conditions": [
                    {"type": "Available", "status": "False", "message": "no"},
                    {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"},
                ],
            },
            "1 of 2 pods are available (late)",
        ),
        (
            {"updatedReplicas": 0, "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "quota"}]},
            "0 of 2 pods are of its newest version (quota)",
        ),
        (
            {"availableReplicas": 1, "conditions": [{"type": "Progressing", "status": "True", "message": "fine"}]},
            "1 of 2 pods are available",
        ),
    ],
)
def test_deployment(status, expected):
    assert deployment(workload({**DEPLOYED, **status}, replicas=2)) == expected


def test_a_deployment_of_none_is_there():
    assert deployment(workload({}, replicas=0)) == ""


SPREAD = {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}


@pytest.mark.parametrize(
    ("status", "spec", "expected"),
    [
        ({}, {}, ""),
        ({"observedGeneration": 1}, {}, "its controller has not seen it yet"),
        ({"updatedNumberScheduled": 2}, {}, "2 of 3 pods are of its newest version"),
        ({"updatedNumberScheduled": 2}, {"updateStrategy": {"type": "OnDelete"}}, ""),
        ({"numberAvailable": 1}, {}, "1 of 3 pods are available"),
    ],
)
def test_daemon_set(status, spec, expected):
    assert daemon_set(workload({**SPREAD, **status}, **spec)) == expected


@pytest.mark.parametrize(
    ("status", "spec", "expected"),
    [
        ({}, {}, ""),
        ({"observedGeneration": 1}, {}, "its controller has not seen it yet"),
        ({"readyReplicas": 0}, {}, "0 of 2 pods are ready"),
        ({"updatedReplicas": 1}, {}, "1 of 2 pods are of its newest version"),
        ({"updatedReplicas": 1}, {"updateStrategy": {"type": "OnDelete"}}, ""),
    ],
)
def test_stateful_set(status, spec, expected):
    assert stateful_set(workload({"readyReplicas": 2, "updatedReplicas": 2, **status}, replicas=2, **spec)) == expected


def pod(name="p", **status):
    return {"metadata": {"name": name, "namespace": "n"}, "status": status}


def container(reason, message=""):
    return [{"name": "c", "state": {"waiting": {"reason": reason, "message": message}}}]


def test_pods_tell_why():
    pods = [
        pod("ordinary", containerStatuses=container("ContainerCreating")),
        pod("running", containerStatuses=[{"name": "c", "state": {"running": {}}}]),
        pod("pull", containerStatuses=container("ImagePullBackOff", "no such image")),
        pod("init", initContainerStatuses=container("CrashLoopBackOff")),
        pod("homeless", conditions=[{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]),
    ]
    assert stuck_pods(msgspec.convert(pods, list[Pod])) == [
        "pod n/pull: container c waits: ImagePullBackOff: no such image",
        "pod n/init: container c waits: CrashLoopBackOff",
        "pod n/homeless: it finds no node: 0/1 nodes",
    ]


def test_not_all_of_many_pods_are_named():
    pods = [pod(f"p{number}", containerStatuses=container("X")) for number in range(20)]
    assert len(stuck_pods(msgspec.convert(pods, list[Pod]))) == 5


def answers(**found):
    async def answer(request):
        return items(*found.get(request.path.rsplit("/", 1)[1], ()))

    return answer


async def test_a_namespace_that_lacks_something(serve, kube):
    short = {
        "metadata": {"name": "d", "namespace": "n", "generation": 1},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 1, "updatedReplicas": 1, "replicas": 1},
    }
    server = await serve(answers(deployments=[short], pods=[pod(containerStatuses=container("ErrImagePull"))]))
    assert await kube.rolled_out(server.access, "n", deadline=by()) == [
        "Deployment n/d: 0 of 1 pods are available",
        "pod n/p: container c waits: ErrImagePull",
    ]


async def test_pods_are_not_read_when_nothing_is_missing(serve, kube):
    server = await serve(answers())
    assert await kube.rolled_out(server.access, "n", deadline=by()) == []
    assert {path.rsplit("/", 1)[1] for path in server.paths("GET")} == {"deployments", "daemonsets", "statefulsets"}
