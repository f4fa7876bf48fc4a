"""The chart and the overlays give the same objects, so that one set of docs and tests holds for both."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.golden.render import CHARTED
from tests.unit.deploy.manifests import CONTROLLER, Object, objects

NAMING = ("name", "mountPath", "topologyKey")
"""Fields that tell the members of a list apart, so that their order does not count."""


def facts(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Give every value in an object by its path; members of a list by their name where they have one."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from facts(item, f"{path}.{key}")
    elif isinstance(value, list) and value:
        names = next((found for field in NAMING if (found := names_of(value, field))), range(len(value)))
        for name, item in zip(names, value, strict=True):
            yield from facts(item, f"{path}[{name}]")
    else:
        yield path, value


def names_of(members: list[Any], field: str) -> list[str]:
    names = [member.get(field) for member in members if isinstance(member, dict)]
    return names if None not in names and len(set(names)) == len(members) else []


def differences(ours: Object, theirs: Object) -> list[str]:
    one, other = dict(facts(ours)), dict(facts(theirs))
    return [
        f"{path}: {one.get(path, 'missing')!r}, {other.get(path, 'missing')!r}"
        for path in sorted(one.keys() | other.keys())
        if one.get(path, "missing") != other.get(path, "missing")
    ]


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
