"""Objects that the tests give to Kubernetes, as plain mappings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ccm.names import BALANCER_PREFIX
from csi.driver import DRIVER_NAME, ZONE_KEY
from tests.e2e.cluster import own_images
from tests.e2e.cluster.images import TOOLS_IMAGE

CLASS = "thecloud-block"
ANYWHERE = ({"operator": "Exists"},)
"""Tolerations that let a pod onto the control plane too, which is the second zone's only node."""
MOUNT = "/data"
DEVICE = "/dev/volume"
PYTHON_IMAGE = f"localhost/thecloud-kubernetes-node:{own_images.TAG}"
"""The one of our images with a Python that any user may run."""
ECHO_SERVER = Path(__file__).with_name("echo_server.py")
ECHO_PORT = 8080

Object = dict[str, Any]


def claim(
    name: str,
    *,
    size: str = "1Gi",
    storage_class: str = CLASS,
    block: bool = False,
    access: str = "ReadWriteOnce",
    source: Mapping[str, str] | None = None,
    attributes: str = "",
    volume: str = "",
) -> Object:
    """Build a claim; `source` is a dataSource with kind and name, `volume` names a PV to bind to."""
    spec: Object = {
        "accessModes": [access],
        "resources": {"requests": {"storage": size}},
        "storageClassName": storage_class,
        "volumeMode": "Block" if block else "Filesystem",
    }
    if source is not None:
        spec["dataSource"] = dict(source)
    if attributes:
        spec["volumeAttributesClassName"] = attributes
    if volume:
        spec["volumeName"] = volume
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def from_snapshot(name: str) -> Mapping[str, str]:
    """Name a snapshot as a claim's source."""
    return {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name}


def from_claim(name: str) -> Mapping[str, str]:
    """Name another claim as a claim's source."""
    return {"kind": "PersistentVolumeClaim", "name": name}


def pod(
    name: str,
    claims: Sequence[str] = (),
    *,
    node: str = "",
    zone: str = "",
    block: bool = False,
    volumes: Sequence[Mapping[str, Any]] = (),
    labels: Mapping[str, str] | None = None,
    read_only: bool = False,
    tolerations: Sequence[Mapping[str, Any]] = (),
) -> Object:
    """Build a pod that sleeps with its claims at `/data`, `/data1`, … (or as devices `/dev/volume`, …)."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **({"labels": dict(labels)} if labels else {})},
        "spec": pod_spec(
            claims,
            node=node,
            zone=zone,
            block=block,
            volumes=volumes,
            read_only=read_only,
            tolerations=tolerations,
        ),
    }


def pod_spec(
    claims: Sequence[str] = (),
    *,
    node: str = "",
    zone: str = "",
    block: bool = False,
    volumes: Sequence[Mapping[str, Any]] = (),
    read_only: bool = False,
    tolerations: Sequence[Mapping[str, Any]] = (),
) -> Object:
    """Build a pod's specification, for pods and for templates of others."""
    every = [
        *({"name": f"v{number}", "persistentVolumeClaim": {"claimName": one}} for number, one in enumerate(claims)),
        *volumes,
    ]
    where = "devicePath" if block else "mountPath"
    root = DEVICE if block else MOUNT
    places = [{"name": one["name"], where: f"{root}{number or ''}"} for number, one in enumerate(every)]
    if read_only:
        places = [{**place, "readOnly": True} for place in places]
    selector = {"kubernetes.io/hostname": node} if node else {ZONE_KEY: zone} if zone else {}
    return {
        # Seconds matter in tests, and nothing here needs a farewell.
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        **({"nodeSelector": selector} if selector else {}),
        **({"tolerations": list(tolerations)} if tolerations else {}),
        "containers": [
            {
                "name": "main",
                "image": TOOLS_IMAGE,
                "imagePullPolicy": "Never",
                "command": ["sh", "-c", "trap exit TERM; sleep 1000000 & wait"],
                "volumeDevices" if block else "volumeMounts": places,
            }
        ],
        "volumes": every,
    }


def deployment(name: str, claims: Sequence[str], *, rather: str) -> Object:
    """Build a deployment of one pod, which the scheduler puts on the node `rather` where it can."""
    labels = {"app": name}
    here = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [rather]}]}
    affinity = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": here}]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {**pod_spec(claims), "affinity": {"nodeAffinity": affinity}},
            },
        },
    }


def snapshot(name: str, claim_name: str, *, snapshot_class: str = "thecloud-block") -> Object:
    """Build a snapshot of a claim."""
    return {
        "apiVersion": "snapshot.storage.k8s.io/v1",
        "kind": "VolumeSnapshot",
        "metadata": {"name": name},
        "spec": {"volumeSnapshotClassName": snapshot_class, "source": {"persistentVolumeClaimName": claim_name}},
    }


def storage_class(name: str, parameters: Mapping[str, str] | None = None, **fields: Any) -> Object:
    """Build a StorageClass of the driver."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": DRIVER_NAME,
        "volumeBindingMode": "WaitForFirstConsumer",
        "allowVolumeExpansion": True,
        **({"parameters": dict(parameters)} if parameters else {}),
        **fields,
    }


def echo_pod(name: str, app: str, *, node: str = "") -> Object:
    """Build a pod that answers HTTP at its port `ECHO_PORT` with what it saw of the request."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            **({"nodeSelector": {"kubernetes.io/hostname": node}} if node else {}),
            "containers": [
                {
                    "name": "main",
                    "image": PYTHON_IMAGE,
                    "imagePullPolicy": "Never",
                    "command": ["python3", "-c", ECHO_SERVER.read_text(), str(ECHO_PORT)],
                    "readinessProbe": {"tcpSocket": {"port": ECHO_PORT}, "periodSeconds": 1},
                }
            ],
        },
    }


def balanced(
    name: str, app: str, *, port: int = 80, annotations: Mapping[str, str] | None = None, **spec: Any
) -> Object:
    """Build a service of type LoadBalancer in front of echo pods; keys of annotations are given without the prefix."""
    written = {f"{BALANCER_PREFIX}{key}": value for key, value in (annotations or {}).items()}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, **({"annotations": written} if written else {})},
        "spec": {
            "type": "LoadBalancer",
            "selector": {"app": app},
            "ports": [{"name": "echo", "port": port, "targetPort": ECHO_PORT}],
            **spec,
        },
    }
