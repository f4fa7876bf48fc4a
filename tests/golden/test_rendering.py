"""What the overlays and the chart render to is what is committed; a change of it is seen in review."""

import asyncio
import difflib
import json
import subprocess
from pathlib import Path

import pytest

from tests.golden.render import CHART, GOLDENS, HERE, MANAGER_CHART, Golden, RenderError, differing_copies, helm
from tests.golden.tools import HELM, KUSTOMIZE
from tests.support.go_tools import NoGoError, obtain

BUILD_LIMIT_S = 1500
pytestmark = [pytest.mark.timeout(BUILD_LIMIT_S), pytest.mark.usefixtures("_tools")]


@pytest.fixture(scope="module")
def _tools() -> None:
    try:
        for tool in (KUSTOMIZE, HELM):
            asyncio.run(obtain(tool))
    except NoGoError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda golden: f"{golden.tool.name}-{golden.name}")
def test_it_renders_to_what_is_committed(golden: Golden) -> None:
    committed = golden.path.read_text() if golden.path.exists() else ""
    difference = difflib.unified_diff(
        committed.splitlines(), golden.render().splitlines(), "committed", "rendered", lineterm="", n=2
    )
    assert not list(difference), "look at the difference; where it is meant, run make golden"


def test_the_chart_has_current_copies_of_what_it_shares() -> None:
    assert list(differing_copies()) == [], "run make golden"


@pytest.mark.parametrize(("chart", "values"), [(CHART, "default"), (MANAGER_CHART, "ccm")])
def test_the_charts_pass_helms_own_checks(chart: Path, values: str) -> None:
    done = subprocess.run(
        [str(HELM.path), "lint", "--strict", str(chart), "--values", str(HERE / "values" / f"{values}.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"platform": {"url": "", "clusterId": "c"}}, "/platform/url"),
        ({"platform": {"url": "cloud.example.com", "clusterId": "c"}}, "/platform/url"),
        ({"platform": {"url": "https://user:key@cloud.example.com", "clusterId": "c"}}, "/platform/url"),
        ({"platform": {"url": "https://c", "clusterId": ""}}, "/platform/clusterId"),
        ({"platform": {"url": "https://c", "clusterId": "has space"}}, "/platform/clusterId"),
        ({"platform": {"url": "https://c", "clusterId": "c", "tier": "best"}}, "/platform/tier"),
        ({"platform": {"url": "https://c", "clusterId": "c", "key": "x"}}, "'key'"),
        ({"contoller": {}}, "'contoller'"),
        ({"controller": {"replicas": 0}}, "/controller/replicas"),
        ({"controller": {"env": {"PLATFORM_URL": "x"}}}, "PLATFORM_URL"),
        ({"controller": {"env": {"TC_API_KEY": "secret"}}}, "TC_API_KEY"),
        ({"images": {"node": {"repository": "r", "tag": "latest"}}}, "/images/node/tag"),
        ({"node": {"kubeletDir": "var/lib/kubelet"}}, "/node/kubeletDir"),
        ({"storageClasses": [{"name": "x", "fsType": "ext4"}]}, "'fsType'"),
        ({"storageClasses": [{"name": "Not Valid"}]}, "/storageClasses/0/name"),
        ({"volumeAttributesClasses": [{"name": "fast"}]}, "'parameters'"),
        ({"sidecars": {"extraArgs": {"attacher": ["timeout=1m"]}}}, "/sidecars/extraArgs/attacher/0"),
    ],
)
def test_values_outside_of_the_schema_are_refused_by_name(
    change: dict[str, object], named: str, tmp_path: Path
) -> None:
    values = {"platform": {"url": "https://c", "clusterId": "c"}, **change}
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(values))
    with pytest.raises(RenderError) as caught:
        helm(file)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"platform": {"url": "https://c", "clusterId": ""}}, "/platform/clusterId"),
        ({"platform": {"url": "https://c", "clusterId": "c", "loadBalancerAddress": "a/b"}}, "loadBalancerAddress"),
        ({"replicas": 0}, "/replicas"),
        ({"env": {"TC_API_KEY": "secret"}}, "TC_API_KEY"),
        ({"extraArgs": ["controllers=*"]}, "/extraArgs/0"),
        ({"autoscaler": {"enabeld": True}}, "'enabeld'"),
    ],
)
def test_the_managers_values_outside_of_the_schema_are_refused_by_name(
    change: dict[str, object], named: str, tmp_path: Path
) -> None:
    values = {"platform": {"url": "https://c", "clusterId": "c"}, **change}
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(values))
    with pytest.raises(RenderError) as caught:
        helm(file, chart=MANAGER_CHART)
    assert named in str(caught.value)


def test_a_change_of_the_kubelets_folder_reaches_every_path(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(
        json.dumps({"platform": {"url": "https://c", "clusterId": "c"}, "node": {"kubeletDir": "/data/kubelet"}})
    )
    rendered = helm(file)
    assert "/var/lib/kubelet" not in rendered
    assert rendered.count("/data/kubelet") == 5
