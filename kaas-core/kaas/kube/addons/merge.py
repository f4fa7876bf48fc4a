"""Changing an object by a patch as kustomize does: strategic merge, or a list of JSON patch operations. Pure.

Lists whose elements have an identity are merged by it (`_KEYS`); all others are replaced. `$patch: delete` takes an
element or a whole object away, `$patch: replace` gives a list anew, and `null` removes a field.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from kaas.kube.addons.problems import ManifestError

DIRECTIVE = "$patch"
_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "port"),
    "topologySpreadConstraints": ("topologyKey",),
}
"""Fields of workloads and Services that hold lists with an identity; the first key that all elements have counts."""


def merged(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Give an object with a strategic merge patch applied; neither is changed."""
    result = dict(target)
    for field, value in patch.items():
        if field == DIRECTIVE:
            raise ManifestError(f"`{DIRECTIVE}: {value}` is understood on objects and on elements of lists only")
        if value is None:
            result.pop(field, None)
        elif isinstance(value, Mapping):
            before = result.get(field)
            result[field] = merged(before if isinstance(before, Mapping) else {}, value)
        elif isinstance(value, list):
            result[field] = _merged_list(field, result.get(field), value)
        else:
            result[field] = value
    return result


def operated(target: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give an object with JSON patch operations applied: add, replace, remove."""
    result = copy.deepcopy(dict(target))
    for one in operations:
        _operate(result, str(one.get("op")), str(one.get("path")), one.get("value"))
    return result


def _merged_list(field: str, before: object, patch: list[Any]) -> list[Any]:
    if any(isinstance(one, Mapping) and one.get(DIRECTIVE) == "replace" for one in patch):
        return [copy.deepcopy(one) for one in patch if not (isinstance(one, Mapping) and DIRECTIVE in one)]
    old = before if isinstance(before, list) else []
    key = _key_of(field, [*old, *patch])
    if not key:
        return copy.deepcopy(patch)
    there = {one[key]: one for one in old}
    gone = {one[key] for one in patch if one.get(DIRECTIVE) == "delete"}
    named = {one[key]: merged(there.get(one[key], {}), one) for one in patch if one[key] not in gone}
    # What the patch names comes first and in its order, as in what kustomize renders.
    return [*named.values(), *(one for one in old if one[key] not in named and one[key] not in gone)]


def _key_of(field: str, elements: Sequence[Any]) -> str:
    for key in _KEYS.get(field, ()):
        if all(isinstance(one, Mapping) and key in one for one in elements):
            return key
    return ""


def _operate(target: dict[str, Any], operation: str, path: str, value: object) -> None:
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    at: Any = target
    try:
        for part in way:
            at = at[int(part)] if isinstance(at, list) else at[part]
        if operation == "add" and isinstance(at, list):
            at.insert(len(at) if last == "-" else int(last), copy.deepcopy(value))
        elif operation == "remove":
            del at[int(last) if isinstance(at, list) else last]
        elif operation == "add":
            at[last] = copy.deepcopy(value)
        elif operation == "replace":
            key = int(last) if isinstance(at, list) else last
            # What is not there cannot be replaced.
            _ = at[key]
            at[key] = copy.deepcopy(value)
        else:
            raise ManifestError(f"JSON patch operation {operation!r} is not understood")
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ManifestError(f"JSON patch {operation} {path}: there is no such place") from error
