"""The part of kustomize that `deploy/` uses, so that its manifests are installed as they are reviewed, not rewritten.

Understood: `resources` (files and folders), `components`, `configMapGenerator` (files, envs, literals; without a suffix
of a hash), `patches` (strategic merge or JSON patch, from a file or inline, with a target by kind and name), `labels`
(on the objects alone), `images`, and `replacements` from one field into others. Anything else is refused by name.
Objects marked as local configuration are left out of the result, as kustomize does.
"""

import copy
import json
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kaas.kube.addons.marks import Manifest, filled
from kaas.kube.addons.merge import DIRECTIVE, merged, operated
from kaas.kube.addons.problems import ManifestError
from kaas.kube.addons.replacing import replace
from kaas.kube.addons.yaml_text import read_documents, read_manifests

FILE = "kustomization.yaml"
NO_TEXTS: Mapping[str, str] = MappingProxyType({})
_KEPT = 16
"""Kustomizations whose objects are kept; a service has one for each addon and size of cluster."""
_LOCAL = "config.kubernetes.io/local-config"
_READ = frozenset({".yaml", ".env", ".json"})
_FIELDS = frozenset(
    {
        "apiVersion",
        "kind",
        "resources",
        "components",
        "configMapGenerator",
        "patches",
        "labels",
        "images",
        "replacements",
    }
)


@dataclass(frozen=True, slots=True)
class Shipped:
    """A tree of manifests, read once; `files` are texts by path below it."""

    files: Mapping[str, str]
    _rendered: dict[str, list[Manifest]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def read(cls, folder: Path) -> "Shipped":
        """Read a tree from disk. Raises ManifestError when there is none."""
        if not folder.is_dir():
            raise ManifestError(f"{folder}: there is no such folder; it has to be the project's `deploy`")
        found = sorted(path for path in folder.rglob("*") if path.suffix in _READ and path.is_file())
        return cls({path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in found})

    def render(
        self,
        kustomization: Mapping[str, Any],
        *,
        without: Collection[str] = (),
        texts: Mapping[str, str] = NO_TEXTS,
    ) -> list[Manifest]:
        """Give the objects of a kustomization that lies at the tree's root; nothing of the tree is changed.

        `without`: folders of components that are left out wherever they are named. What differs from cluster to cluster
        stands in the kustomization as a mark, and its text in `texts`: the rest is rendered once. Raises ManifestError.
        """
        key = json.dumps([kustomization, sorted(without)], sort_keys=True)
        if (objects := self._rendered.get(key)) is None:
            made = _Build(self.files, frozenset(without)).run(kustomization, "", [])
            objects = [one for one in made if _LOCAL not in (one["metadata"].get("annotations") or {})]
            while len(self._rendered) >= _KEPT:
                del self._rendered[next(iter(self._rendered))]
            self._rendered[key] = objects
        return [filled(one, texts) for one in objects]


class _Build:
    """One rendering."""

    def __init__(self, files: Mapping[str, str], without: frozenset[str]) -> None:
        self._files = files
        self._without = without

    def run(self, content: Mapping[str, Any], folder: str, objects: list[Manifest]) -> list[Manifest]:
        """Give `objects` with those of a kustomization, and with its changes made to all of them."""
        where = posixpath.join(folder, FILE)
        if unknown := sorted(set(content) - _FIELDS):
            raise ManifestError(f"{where}: {', '.join(unknown)}: not understood here")
        for path in content.get("resources") or ():
            objects = [*objects, *self._resource(_join(folder, path))]
        objects = [*objects, *(self._config_map(one, folder) for one in content.get("configMapGenerator") or ())]
        for path in content.get("components") or ():
            component = _join(folder, path)
            if component not in self._without:
                objects = self.run(self._kustomization(component), component, objects)
        for patch in content.get("patches") or ():
            objects = self._patched(objects, patch, folder)
        for one in content.get("labels") or ():
            objects = [_labelled(manifest, one, where) for manifest in objects]
        for image in content.get("images") or ():
            objects = [_with_image(manifest, image) for manifest in objects]
        for one in content.get("replacements") or ():
            objects = replace(objects, one, where=where)
        return objects

    def _resource(self, path: str) -> list[Manifest]:
        if path in self._files:
            return read_manifests(self._files[path], name=path)
        return self.run(self._kustomization(path), path, [])

    def _kustomization(self, folder: str) -> Mapping[str, Any]:
        path = posixpath.join(folder, FILE)
        found = read_documents(self._text(path), name=path)
        if len(found) != 1 or not isinstance(found[0], Mapping):
            raise ManifestError(f"{path}: it has to be one mapping")
        return found[0]

    def _text(self, path: str) -> str:
        if path not in self._files:
            raise ManifestError(f"{path}: it is named, but there is no such file among the shipped ones")
        return self._files[path]

    def _config_map(self, wish: Mapping[str, Any], folder: str) -> Manifest:
        options = wish.get("options") or {}
        if not options.get("disableNameSuffixHash"):
            raise ManifestError(f"{folder}/{FILE}: ConfigMap {wish['name']}: names with a hash are not understood here")
        data: dict[str, str] = {}
        for path in wish.get("envs") or ():
            data |= _variables(self._text(_join(folder, path)).splitlines())
        data |= _variables(wish.get("literals") or ())
        for one in wish.get("files") or ():
            key, _, path = one.rpartition("=")
            data[key or posixpath.basename(path)] = self._text(_join(folder, path))
        metadata = {
            "name": wish["name"],
            "namespace": wish.get("namespace"),
            "labels": options.get("labels"),
            "annotations": options.get("annotations"),
        }
        metadata = {key: value for key, value in metadata.items() if value}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

    def _patched(self, objects: list[Manifest], patch: Mapping[str, Any], folder: str) -> list[Manifest]:
        path = _join(folder, patch["path"]) if "path" in patch else ""
        name = path or f"{folder}/{FILE}, inline patch"
        target = patch.get("target")
        for document in read_documents(self._text(path) if path else patch["patch"], name=name):
            hit = [one for one in objects if (_selects(target, one) if target else _is_same(document, one))]
            if not hit:
                raise ManifestError(f"{name}: there is no object that the patch is for")
            changed = [(one, _changed(one, document)) for one in hit]
            outcome = {id(one): result for one, result in changed}
            objects = [result for one in objects if (result := outcome.get(id(one), one)) is not None]
        return objects


def _join(folder: str, path: str) -> str:
    joined = posixpath.normpath(posixpath.join(folder, path))
    if joined.startswith(("../", "/")) or joined == "..":
        raise ManifestError(f"{path} in {folder or 'the root'}: it leads out of the shipped manifests")
    return joined


def _variables(lines: Sequence[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[key.strip()] = value
    return found


def _changed(manifest: Manifest, patch: object) -> Manifest | None:
    """Give the object after a patch; None when the patch deletes it."""
    if isinstance(patch, list):
        return operated(manifest, patch)
    if not isinstance(patch, Mapping):
        raise ManifestError("a patch is a mapping or a list of operations")
    if patch.get(DIRECTIVE) == "delete":
        return None
    return merged(manifest, patch)


def _is_same(patch: object, manifest: Manifest) -> bool:
    if not isinstance(patch, Mapping):
        raise ManifestError("a patch without a target has to name its object")
    mine, its = patch["metadata"], manifest["metadata"]
    names = (patch["apiVersion"], patch["kind"], mine["name"], mine.get("namespace"))
    return names == (manifest["apiVersion"], manifest["kind"], its["name"], its.get("namespace"))


def _selects(target: Mapping[str, Any], manifest: Manifest) -> bool:
    if unknown := set(target) - {"kind", "name"}:
        raise ManifestError(f"a patch's target by {', '.join(sorted(unknown))} is not understood here")
    found = {"kind": manifest["kind"], "name": manifest["metadata"]["name"]}
    return all(re.fullmatch(str(pattern), found[key]) for key, pattern in target.items())


def _labelled(manifest: Manifest, wish: Mapping[str, Any], where: str) -> Manifest:
    if unknown := sorted(set(wish) - {"pairs"}):
        raise ManifestError(f"{where}: labels with {', '.join(unknown)} are not understood here")
    return merged(manifest, {"metadata": {"labels": wish["pairs"]}})


def _with_image(manifest: Manifest, wish: Mapping[str, Any]) -> Manifest:
    if not any(split_image(str(one["image"]))[0] == wish["name"] for one in _containers(manifest)):
        return manifest
    result = copy.deepcopy(manifest)
    for container in _containers(result):
        name, tag, digest = split_image(str(container["image"]))
        if name == wish["name"]:
            tag, digest = (wish.get("newTag", ""), wish.get("digest", "")) if _renames(wish) else (tag, digest)
            mark = f"@{digest}" if digest else (f":{tag}" if tag else "")
            container["image"] = f"{wish.get('newName', name)}{mark}"
    return result


def _renames(wish: Mapping[str, Any]) -> bool:
    return bool(wish.get("newTag") or wish.get("digest"))


def split_image(image: str) -> tuple[str, str, str]:
    """Split an image into name, tag and digest; a colon before the last slash is that of a port."""
    rest, _, digest = image.partition("@")
    head, slash, last = rest.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{head}{slash}{name}", tag, digest


def _containers(value: object) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [found for one in value for found in _containers(one)]
    if not isinstance(value, dict):
        return []
    here = [
        one
        for field in ("containers", "initContainers")
        if isinstance(value.get(field), list)
        for one in value[field]
        if isinstance(one, dict) and "image" in one
    ]
    return [*here, *(found for one in value.values() for found in _containers(one))]
