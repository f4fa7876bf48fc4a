"""Overlays of this machine on top of shipped ones: only what differs from machine to machine."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.cluster.site import Site

REPOSITORY = Path(__file__).resolve().parents[3]
DEPLOY = REPOSITORY / "deploy"


def write(
    site: Site, name: str, *, base: str, components: Sequence[str] = (), patches: Sequence[Mapping[str, Any]]
) -> Path:
    """Write an overlay of this name into the cluster's folder and give its folder; paths are those below `deploy/`."""
    folder = site.folder / name
    folder.mkdir(exist_ok=True)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [_relative(DEPLOY / base, folder)],
        "components": [_relative(DEPLOY / component, folder) for component in components],
        "patches": list(patches),
    }
    (folder / "kustomization.yaml").write_text(json.dumps(kustomization, indent=2))
    return folder


def environment(workload: str, container: str, values: Mapping[str, str]) -> dict[str, Any]:
    """Give the patch that sets variables of a container; a workload is `kind/namespace/name`."""
    kind, namespace, name = workload.split("/")
    given = {"name": container, "env": [{"name": key, "value": value} for key, value in values.items()]}
    patch = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"spec": {"containers": [given]}}},
    }
    return {"patch": json.dumps(patch)}


def _relative(path: Path, start: Path) -> str:
    # kustomize takes no absolute path for a resource.
    up = len(start.resolve().parts) - 1
    return "/".join([".."] * up) + str(path)
