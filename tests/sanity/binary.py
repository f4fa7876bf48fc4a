"""The published csi-sanity, built from its Go module into the user's cache."""

from pathlib import Path

from tests.support.go_tools import GoTool, obtain

CSI_SANITY = GoTool(
    name="csi-sanity",
    version="5.6.0",
    package="github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity",
    folder=Path(__file__).parent / "tool",
)


async def build() -> Path:
    """Give the path of csi-sanity, building it where the cache does not have it."""
    return await obtain(CSI_SANITY)
