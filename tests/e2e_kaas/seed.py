"""The claim and the service of the platform's page on Kubernetes, as written there, and a pod that uses both."""

from collections.abc import Mapping
from typing import Any

from tests.e2e import objects
from tests.e2e.objects import MOUNT, Object

CLAIM = "mysql-pv-claim"
APP = "my-app"
SERVICE = "my-service"
FOLDER = MOUNT
"""Where the volume is in the pod."""
NODE_PORT = 30080
_TARGET_PORT = 8080
_PORT = 80


def claim() -> Object:
    """Give the page's PersistentVolumeClaim."""
    return objects.claim(CLAIM, size="20Gi")


def service() -> Object:
    """Give the page's service; only the port behind it is one that needs no rights."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": SERVICE},
        "spec": {
            "type": "NodePort",
            "selector": {"app": APP},
            "ports": [{"port": _PORT, "targetPort": _TARGET_PORT, "nodePort": NODE_PORT}],
        },
    }


def deployment() -> Object:
    """Give what serves the files of the claim's volume over HTTP, and moves when its node dies."""
    labels = {"app": APP}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": APP},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod()},
        },
    }


def _pod() -> Mapping[str, Any]:
    user = 1000
    return {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsUser": user, "runAsNonRoot": True, "fsGroup": user},
        # A node that has died is noticed by then, and nobody waits for what ran there.
        "tolerations": [
            {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
            for state in ("not-ready", "unreachable")
        ],
        "containers": [
            {
                "name": "main",
                "image": objects.PYTHON_IMAGE,
                "imagePullPolicy": "Never",
                "command": ["python3", "-m", "http.server", str(_TARGET_PORT), "--directory", MOUNT],
                "readinessProbe": {"httpGet": {"path": "/", "port": _TARGET_PORT}, "periodSeconds": 1},
                "volumeMounts": [{"name": "data", "mountPath": MOUNT}],
            }
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}],
    }
