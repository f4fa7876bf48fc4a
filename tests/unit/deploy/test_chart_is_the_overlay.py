"""The chart and the overlays give the same objects, so that one set of docs and tests holds for both."""

import copy

import pytest

from tests.golden.render import CHARTED
from tests.support.differences import differences
from tests.unit.deploy.manifests import CONTROLLER, objects


@pytest.mark.parametrize("name", CHARTED)
def test_both_have_the_same_objects(name: str) -> None:
    assert set(objects("helm", name)) == set(objects("kustomize", name))


@pytest.mark.parametrize(
    ("name", "key"),
    [(name, key) for name in CHARTED for key in objects("kustomize", name)],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}-{value[2]}",
)
def test_every_object_is_the_same(name: str, key: tuple[str, str, str]) -> None:
    assert differences(objects("helm", name)[key], objects("kustomize", name)[key]) == []


def test_a_difference_would_be_seen_and_another_order_of_names_is_none() -> None:
    document = objects("kustomize", "default")[CONTROLLER]
    changed = copy.deepcopy(document)
    changed["spec"]["template"]["spec"]["containers"].reverse()
    assert differences(document, changed) == []
    changed["metadata"]["labels"]["another"] = "label"
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "another"
    del changed["spec"]["strategy"]
    assert [line.partition(":")[0] for line in differences(document, changed)] == [
        ".metadata.labels.another",
        ".spec.strategy.rollingUpdate.maxSurge",
        ".spec.strategy.rollingUpdate.maxUnavailable",
        ".spec.template.spec.containers[csi-snapshotter].image",
    ]
    assert differences({"args": ["--a", "--b"]}, {"args": ["--b", "--a"]}) != []
