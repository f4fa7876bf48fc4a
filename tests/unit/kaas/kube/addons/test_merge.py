"""Patches."""

import pytest

from kaas.kube.addons.merge import merged, operated
from kaas.kube.addons.problems import ManifestError


def test_fields_are_merged_and_null_removes():
    before = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merged(before, {"a": {"b": 4, "c": None}, "e": 5}) == {"a": {"b": 4}, "d": 3, "e": 5}
    assert before == {"a": {"b": 1, "c": 2}, "d": 3}


@pytest.mark.parametrize(
    ("field", "before", "patch", "expected"),
    [
        # What is patched comes first, as kustomize has it.
        ("env", [{"name": "a", "value": "1"}, {"name": "b"}], [{"name": "b", "value": "2"}], ["b", "a"]),
        ("env", [{"name": "a"}], [{"name": "c"}], ["c", "a"]),
        ("containers", [{"name": "a"}, {"name": "b"}], [{"name": "a", "$patch": "delete"}], ["b"]),
        ("containers", [{"name": "a"}], [{"$patch": "replace"}, {"name": "z"}], ["z"]),
        ("args", ["--a"], ["--b"], ["--b"]),
        # Not by name, because not all have one.
        ("volumes", [{"name": "a"}, {}], [{"name": "b"}], ["b"]),
    ],
)
def test_lists(field, before, patch, expected):
    found = merged({field: before}, {field: patch})[field]
    assert [one["name"] if isinstance(one, dict) else one for one in found] == expected


def test_an_element_keeps_what_the_patch_does_not_name():
    before = {"containers": [{"name": "a", "image": "i", "env": [{"name": "x", "value": "1"}]}]}
    patch = {"containers": [{"name": "a", "env": [{"name": "x", "value": "2"}]}]}
    assert merged(before, patch) == {"containers": [{"name": "a", "image": "i", "env": [{"name": "x", "value": "2"}]}]}


def test_ports_of_a_container_and_of_a_service_have_other_identities():
    container = merged({"ports": [{"containerPort": 1, "name": "a"}]}, {"ports": [{"containerPort": 1, "name": "b"}]})
    assert container["ports"] == [{"containerPort": 1, "name": "b"}]
    service = merged({"ports": [{"port": 1}, {"port": 2}]}, {"ports": [{"port": 2, "name": "b"}]})
    assert service["ports"] == [{"port": 2, "name": "b"}, {"port": 1}]


def test_a_directive_in_the_middle_is_refused():
    with pytest.raises(ManifestError, match="understood on objects"):
        merged({"spec": {"a": 1}}, {"spec": {"$patch": "replace"}})


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ({"op": "add", "path": "/list/-", "value": 3}, {"list": [1, 2, 3], "a/b": 0}),
        ({"op": "add", "path": "/list/0", "value": 3}, {"list": [3, 1, 2], "a/b": 0}),
        ({"op": "add", "path": "/new", "value": 3}, {"list": [1, 2], "a/b": 0, "new": 3}),
        ({"op": "replace", "path": "/list/0", "value": 3}, {"list": [3, 2], "a/b": 0}),
        ({"op": "replace", "path": "/a~1b", "value": 3}, {"list": [1, 2], "a/b": 3}),
        ({"op": "remove", "path": "/list/0"}, {"list": [2], "a/b": 0}),
        ({"op": "remove", "path": "/a~1b"}, {"list": [1, 2]}),
    ],
)
def test_operations(operation, expected):
    before = {"list": [1, 2], "a/b": 0}
    assert operated(before, [operation]) == expected
    assert before == {"list": [1, 2], "a/b": 0}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "/none", "value": 1},
        {"op": "remove", "path": "/none"},
        {"op": "add", "path": "/none/x", "value": 1},
        {"op": "remove", "path": "/list/7"},
        {"op": "move", "path": "/list"},
    ],
)
def test_operations_without_a_place_are_refused(operation):
    with pytest.raises(ManifestError):
        operated({"list": [1]}, [operation])
