"""kustomize and Helm in the versions that the manifests are rendered with.

kustomize is the one inside kubectl 1.36; Helm is built on the Kubernetes modules of the end-to-end tests' cluster, so
that a cache that has those builds it in half the time.
"""

from pathlib import Path

from tests.support.go_tools import GoTool

_MODULES = Path(__file__).parent / "tool"

KUSTOMIZE = GoTool(
    name="kustomize",
    version="5.8.1",
    package="sigs.k8s.io/kustomize/kustomize/v5",
    folder=_MODULES / "kustomize",
)
HELM = GoTool(name="helm", version="4.2.4", package="helm.sh/helm/v4/cmd/helm", folder=_MODULES / "helm")
