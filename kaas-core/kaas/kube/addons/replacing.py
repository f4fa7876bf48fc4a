"""`replacements` of kustomize: one field's value goes into fields of other objects. Pure."""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kaas.kube.addons.marks import Manifest
from kaas.kube.addons.problems import ManifestError

_ELEMENT = re.compile(r"\[([^=\]]+)=([^\]]+)\]")
_STEP = re.compile(r"\[[^\]]*\]|[^.\[\]]+")


def replace(objects: Sequence[Manifest], wish: Mapping[str, Any], *, where: str) -> list[Manifest]:
    """Give the objects with one replacement made; the source has to be there, a target need not be."""
    source = wish["source"]
    origins = [one for one in objects if _selected(source, one)]
    if len(origins) != 1:
        raise ManifestError(f"{where}: {len(origins)} objects are the source of a replacement, it has to be one")
    path = source["fieldPath"]
    holder, key = _holder(origins[0], path, where)
    if key not in holder:
        raise ManifestError(f"{where}: the source of a replacement has no field {path}")
    result = [copy.deepcopy(one) for one in objects]
    for target in wish["targets"]:
        for one in result:
            if _selected(target["select"], one):
                for field in target["fieldPaths"]:
                    inner, last = _holder(one, field, where)
                    inner[last] = holder[key]
    return result


def _selected(selector: Mapping[str, Any], manifest: Manifest) -> bool:
    if unknown := set(selector) - {"kind", "name", "fieldPath"}:
        raise ManifestError(f"a replacement that selects by {', '.join(sorted(unknown))} is not understood here")
    return (manifest["kind"], manifest["metadata"]["name"]) == (selector["kind"], selector["name"])


def _holder(manifest: Manifest, path: str, where: str) -> tuple[dict[str, Any], str]:
    """Give the mapping that has a path's last field, and that field's name."""
    *way, last = _STEP.findall(path)
    at: Any = manifest
    for step in way:
        element = _ELEMENT.fullmatch(step)
        if element:
            at = next((one for one in at or () if str(one.get(element[1])) == element[2]), None)
        else:
            at = at.get(step) if isinstance(at, dict) else None
    if not isinstance(at, dict):
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        raise ManifestError(f"{where}: {name} has no {path} to replace")
    return at, last
