"""What our components in a cluster are told of the platform: its address, the cluster's id, a Secret with the key."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kaas.kube.addons.kustomize import split_image
from kaas.kube.addons.marks import Manifest

SECRET = "thecloud-api-credentials"  # noqa: S105 - a name


CLUSTER_ID_MARK = "${KAAS_CLUSTER_ID}"
"""Stands for the cluster's id in what is rendered for all clusters alike."""


@dataclass(frozen=True, slots=True)
class PlatformAccess:
    """One cluster's own way to the platform, as its machines see it."""

    url: str
    cluster_id: str
    """Marks what the cluster makes there, so that its end finds all of that and nothing else."""
    api_key: str = field(repr=False)
    ca_pem: bytes = b""
    """Authority of the platform's certificate; empty for one that everybody knows."""

    def secret(self, namespace: str) -> Manifest:
        """Give the Secret of a namespace."""
        data = {"api-key": self.api_key.encode()} | ({"ca.crt": self.ca_pem} if self.ca_pem else {})
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "type": "Opaque",
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }

    def environment(self) -> Mapping[str, str]:
        """Give the variables that both components read, with a mark for what is the cluster's own."""
        return {"TC_PLATFORM_URL": self.url, "TC_CLUSTER_ID": CLUSTER_ID_MARK}

    def texts(self) -> Mapping[str, str]:
        """Give what stands in the place of marks."""
        return {CLUSTER_ID_MARK: self.cluster_id}


def environment_patch(workload: str, container: str, values: Mapping[str, str]) -> Mapping[str, str]:
    """Give the patch that sets variables of a container; a workload is `kind/namespace/name`."""
    given = {"name": container, "env": [{"name": key, "value": value} for key, value in values.items()]}
    return workload_patch(workload, {"template": {"spec": {"containers": [given]}}})


def workload_patch(workload: str, spec: Mapping[str, Any]) -> Mapping[str, str]:
    """Give the patch of a workload's `spec`, as an entry of a kustomization."""
    kind, namespace, name = workload.split("/")
    metadata = {"name": name, "namespace": namespace}
    patch = {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}
    # JSON is YAML: values with quotes, colons or line breaks stay what they are.
    return {"patch": json.dumps(patch)}


def images_of(images: Mapping[str, str]) -> list[dict[str, str]]:
    """Give replaced images as a kustomization names them."""
    found = []
    for name, image in images.items():
        new, tag, digest = split_image(image)
        entry = {"name": name, "newName": new}
        found.append(entry | ({"digest": digest} if digest else {"newTag": tag} if tag else {}))
    return found
