"""The two ways to install give the same, and each can be taken back."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from csi.driver import DRIVER_NAME, ZONE_KEY
from devcloud import commands
from tests.e2e.cluster import driver, inventory, platform
from tests.e2e.cluster.assets import prepare
from tests.e2e.cluster.credentials import CLUSTER_ID, NAMESPACE
from tests.e2e.cluster.errors import ClusterError
from tests.e2e.cluster.kubectl import Kubectl
from tests.e2e.cluster.overlays import REPOSITORY
from tests.e2e.cluster.site import Site
from tests.e2e.objects import claim, pod
from tests.e2e.world import World
from tests.golden.tools import HELM
from tests.support.differences import differences
from tests.support.go_tools import obtain

pytestmark = [pytest.mark.disruptive, pytest.mark.timeout(1500)]
RELEASE = "thecloud-csi"
OBJECT = tuple[str, str]


async def test_kustomize_and_helm_give_the_same_and_leave_nothing(world: World) -> None:
    site, kube = world.site, world.kube
    assets = await prepare()
    before = driver.cluster_before(site)
    folder = driver.write_overlay(site, "devcloud", components=())
    wanted = [one for one in await _rendered(kube, folder) if one[0] != "namespace"]
    try:
        applied = await _live(kube, wanted)
        await kube.run("delete", "-k", str(driver.write_overlay(site, "devcloud")), timeout_s=180)
        await _is_as_it_was(world, before)

        await driver.install_prerequisites(site, assets)
        await _helm("install", RELEASE, str(REPOSITORY / "deploy/chart"), "--values", _values(site), site=site)
        await driver.ready(site)
        installed = await _live(kube, wanted)
        for key in wanted:
            assert differences(installed[key], applied[key]) == [], key
        # The snapshot-controller is the cluster's own and in neither; nothing of this needs it.
        await world.start(claim("data"), pod("user", ["data"]))
        await world.write("user", "by the chart's driver")
        assert await world.read("user") == "by the chart's driver"
        await world.delete("pod", "user")
        await world.delete("pvc", "data")
        await world.gone()
        await _helm("uninstall", RELEASE, "--wait", site=site)
        await kube.run("delete", "namespace", NAMESPACE, timeout_s=180)
        await _is_as_it_was(world, before)
    finally:
        await driver.install(site, assets)


async def _rendered(kube: Kubectl, folder: Path) -> list[OBJECT]:
    """Give kind and name of what an overlay makes."""
    text = await kube.run("create", "--dry-run=client", "-o", "name", "-k", str(folder))
    return [(kind, name) for kind, _, name in (line.partition("/") for line in text.split())]


async def _live(kube: Kubectl, keys: list[OBJECT]) -> dict[OBJECT, Any]:
    """Read objects as they are in the cluster."""
    found = {}
    for kind, name in keys:
        found[kind, name] = inventory.substance(await kube.get(kind, name, "-n", NAMESPACE))
    return found


async def _is_as_it_was(world: World, before: frozenset[str]) -> None:
    """See that no object, no entry on a node and no file of the driver is left."""
    mine = f" {world.namespace}"

    async def changed() -> set[str]:
        now = {line for line in await inventory.names(world.kube) if mine not in line}
        return now ^ before

    async def same() -> bool:
        return not await changed()

    with contextlib.suppress(ClusterError):
        await world.until(same, "the cluster to be as it was")
    assert await changed() == set()
    for node in await world.kube.items("nodes"):
        notes = node["metadata"]["annotations"].get("csi.volume.kubernetes.io/nodeid", "")
        assert DRIVER_NAME not in notes
        # The kubelet does not take labels of topology back; see docs/install.md.
        named = [key for key in node["metadata"]["labels"] if DRIVER_NAME in key]
        assert set(named) <= {ZONE_KEY}
        assert not [taint for taint in node["spec"].get("taints", ()) if DRIVER_NAME in taint["key"]]
    assert not await driver.registered(world.kube)
    for node in world.site.nodes:
        # Empty folders and lock files may stay; see docs/install.md.
        script = "find /var/lib/kubelet/plugins_registry /var/lib/kubelet/plugins ! -type d ! -name '*.lock'"
        assert not await platform.run(world.site, node, "sh", "-c", script)


async def _helm(*words: str, site: Site) -> None:
    argv = ("nsenter", f"--net={site.namespace}", "--", str(await obtain(HELM)), *words, "-n", NAMESPACE)
    environment = {**commands.ENVIRONMENT, "HOME": str(site.folder), "KUBECONFIG": str(site.kubeconfig)}
    done = await commands.run(argv, timeout_s=180, environment=environment)
    if done.exit_code != 0:
        raise ClusterError(f"helm {' '.join(words)} ended with {done.exit_code}: {done.complaint}")


def _values(site: Site) -> str:
    file = site.folder / "values.json"
    values = {
        "platform": {"url": site.inner_url, "clusterId": CLUSTER_ID},
        "node": {"hostSys": False, "env": dict(driver.node_settings(site))},
    }
    file.write_text(json.dumps(values))
    return str(file)
