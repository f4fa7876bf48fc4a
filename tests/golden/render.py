"""Renders the manifests as users do, by kustomize and by Helm; as a program, writes the golden files anew.

A rendering is a name: an overlay below `deploy/` and the values that make the chart give the same objects.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.golden.tools import HELM, KUSTOMIZE
from tests.support.go_tools import GoTool, obtain

HERE = Path(__file__).parent
DEPLOY = HERE.parents[1] / "deploy"
CHART = DEPLOY / "chart"
MANAGER_CHART = DEPLOY / "ccm" / "chart"
GOLDEN = HERE / "rendered"
NAMESPACE = "thecloud-system"
MANAGER_NAMESPACE = "thecloud-ccm"
"""Apart, so that whoever removes the driver with its namespace does not take the nodes' manager away."""
OVERLAYS = {
    "default": "overlays/default",
    "ha": "overlays/ha",
    "devcloud": "overlays/devcloud",
    "strict": "overlays/strict",
    "production": "examples/production",
    "snapshot-controller": "components/snapshot-controller",
}
MANAGER_OVERLAYS = {
    "ccm": "ccm/overlays/default",
    "ccm-devcloud": "ccm/overlays/devcloud",
    "ccm-strict": "ccm/overlays/strict",
    "ccm-autoscaler": "ccm/examples/autoscaler",
}
"""Of the cloud controller manager, which is installed apart from the driver."""
CHARTED = ("default", "ha", "devcloud", "strict", "production", *MANAGER_OVERLAYS)
"""The overlays that a chart renders too; the snapshot-controller is the cluster's own business."""
SHARED = ("alerts.yaml", "dashboard.json")
"""What the chart has copies of: Helm reads nothing outside of its folder."""
SETTINGS = "TC_PLATFORM_URL=https://cloud.example.com\nTC_CLUSTER_ID=default-1\n"
LIMIT_S = 60.0


class RenderError(Exception):
    """A tool refused; the text is its own words."""


@dataclass(frozen=True, slots=True)
class Golden:
    """One committed file and what makes it."""

    tool: GoTool
    name: str

    @property
    def path(self) -> Path:
        """Where it is committed."""
        return GOLDEN / self.tool.name / f"{self.name}.yaml"

    def render(self) -> str:
        """Render it anew; the tool has to be in the cache. Raises RenderError."""
        if self.tool is KUSTOMIZE:
            return kustomize(self.name)
        chart = MANAGER_CHART if self.name in MANAGER_OVERLAYS else CHART
        return helm(HERE / "values" / f"{self.name}.yaml", chart=chart)


GOLDENS = (
    *(Golden(KUSTOMIZE, name) for name in (*OVERLAYS, *MANAGER_OVERLAYS)),
    *(Golden(HELM, name) for name in CHARTED),
)


def kustomize(name: str) -> str:
    """Render an overlay with the settings filled in. Raises RenderError."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "deploy"
        shutil.copytree(DEPLOY, copy)
        (copy / "settings" / "settings.env").write_text(SETTINGS)
        folder_of = {**OVERLAYS, **MANAGER_OVERLAYS}
        if folder_of[name].startswith("components/"):
            # A component is no kustomization by itself.
            (copy / "kustomization.yaml").write_text(f"components: [{folder_of[name]}]\n")
            return _run(str(KUSTOMIZE.path), "build", str(copy))
        return _run(str(KUSTOMIZE.path), "build", str(copy / folder_of[name]))


def helm(values: Path, *arguments: str, chart: Path = CHART) -> str:
    """Render a chart with a file of values. Raises RenderError."""
    namespace = MANAGER_NAMESPACE if chart == MANAGER_CHART else NAMESPACE
    argv = ("template", "release", str(chart), "--namespace", namespace, "--values", str(values), *arguments)
    return _run(str(HELM.path), *argv)


def differing_copies() -> Iterator[str]:
    """Name the files of the chart that differ from what they are copies of."""
    for name in SHARED:
        copy = CHART / "files" / name
        if not copy.exists() or copy.read_bytes() != (DEPLOY / "components" / "monitoring" / name).read_bytes():
            yield name


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        raise RenderError(done.stderr.strip())
    return done.stdout


def main() -> int:
    """Write the chart's copies and all golden files; gives the exit code."""
    for tool in (KUSTOMIZE, HELM):
        asyncio.run(obtain(tool))
    for name in SHARED:
        shutil.copy(DEPLOY / "components" / "monitoring" / name, CHART / "files" / name)
    for golden in GOLDENS:
        golden.path.parent.mkdir(parents=True, exist_ok=True)
        golden.path.write_text(golden.render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
