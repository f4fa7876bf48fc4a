"""What of kustomize is understood, and that the rest is refused by name."""

import pytest

from kaas.domain.errors import Code
from kaas.kube.addons.kustomize import Shipped, split_image
from kaas.kube.addons.problems import ManifestError

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: n}
spec: {containers: [{name: c, image: "app"}]}
"""


def render(wish, **files):
    return Shipped({name.replace("__", "/") + ".yaml": text for name, text in files.items()}).render(wish)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"namePrefix": "x-"}, "namePrefix: not understood"),
        ({"resources": ["none.yaml"]}, r"none\.yaml/kustomization\.yaml: it is named"),
        ({"resources": ["../outside.yaml"]}, "leads out of the shipped manifests"),
        ({"resources": ["/etc/passwd"]}, "leads out of the shipped manifests"),
        ({"resources": ["pod.yaml"], "labels": [{"pairs": {}, "includeSelectors": True}]}, "includeSelectors"),
        ({"resources": ["pod.yaml"], "patches": [{"path": "none.yaml"}]}, r"none\.yaml: it is named"),
        ({"patches": [{"path": "pod.yaml"}]}, "no object that the patch is for"),
        (
            {"patches": [{"patch": "[]", "target": {"labelSelector": "a=b"}}], "resources": ["pod.yaml"]},
            "labelSelector",
        ),
        ({"configMapGenerator": [{"name": "c", "literals": ["a=b"]}]}, "names with a hash"),
        ({"resources": ["bad.yaml"]}, r"bad\.yaml, line 2: it is no YAML"),
        ({"resources": ["word.yaml"]}, "no apiVersion and kind"),
        ({"resources": ["pod.yaml"], "replacements": [{"source": {"kind": "X", "name": "x"}}]}, "0 objects"),
    ],
)
def test_what_is_not_understood_is_refused(wish, said):
    with pytest.raises(ManifestError, match=said) as caught:
        render(wish, pod=POD, bad="a: 1\nb: ]", word="just words")
    assert caught.value.code is Code.BUG


def test_there_is_no_such_folder(tmp_path):
    with pytest.raises(ManifestError, match="no such folder"):
        Shipped.read(tmp_path / "none")


def test_a_component_can_be_left_out():
    part = "components: [part]"
    inner = "labels: [{pairs: {a: b}}]"
    files = {"pod": POD, "base__kustomization": f"resources: [../pod.yaml]\n{part.replace('part', '../part')}"}
    files["part__kustomization"] = inner
    assert render({"resources": ["base"]}, **files)[0]["metadata"]["labels"] == {"a": "b"}
    left = Shipped({f"{name.replace('__', '/')}.yaml": text for name, text in files.items()})
    assert "labels" not in left.render({"resources": ["base"]}, without=["part"])[0]["metadata"]


def test_a_patch_by_target_reaches_all_that_match():
    patch = '[{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]'
    wish = {"resources": ["pod.yaml", "other.yaml"], "patches": [{"patch": patch, "target": {"kind": "Pod"}}]}
    found = render(wish, pod=POD, other=POD.replace("name: p,", "name: q,"))
    assert [one["metadata"]["labels"] for one in found] == [{"a": "b"}] * 2


@pytest.mark.parametrize(
    ("image", "wish", "expected"),
    [
        ("app", {"newName": "r/app", "newTag": "1"}, "r/app:1"),
        ("app:0", {"newName": "r/app"}, "r/app:0"),
        ("app:0", {"newTag": "1"}, "app:1"),
        ("app:0", {"newName": "r/app", "digest": "sha256:aa"}, "r/app@sha256:aa"),
        ("app@sha256:bb", {"newTag": "1"}, "app:1"),
        ("other/app", {"newTag": "1"}, "other/app"),
    ],
)
def test_images(image, wish, expected):
    text = POD.replace('"app"', f'"{image}"')
    found = render({"resources": ["pod.yaml"], "images": [{"name": "app", **wish}]}, pod=text)
    assert found[0]["spec"]["containers"][0]["image"] == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("a", ("a", "", "")),
        ("a:1", ("a", "1", "")),
        ("host:5000/a", ("host:5000/a", "", "")),
        ("host:5000/a/b:1", ("host:5000/a/b", "1", "")),
        ("a:1@sha256:b", ("a", "1", "sha256:b")),
    ],
)
def test_split_image(image, expected):
    assert split_image(image) == expected


def test_a_schema_that_speaks_of_containers_is_no_container():
    crd = (
        "apiVersion: x/v1\nkind: CRD\nmetadata: {name: c}\n"
        "spec: {properties: {containers: {type: array, description: image}}}"
    )
    wish = {"resources": ["crd.yaml"], "images": [{"name": "app", "newTag": "1"}]}
    assert render(wish, crd=crd)[0]["spec"]["properties"]["containers"]["type"] == "array"
