"""Reading manifests as the API server's own tools read YAML: no dates, and only `true` and `false` are booleans."""

import re
from typing import Any, ClassVar

import yaml

from kaas.kube.addons.problems import ManifestError

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LEFT_OUT = frozenset({"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value", "tag:yaml.org,2002:bool"})


class _Loader(_SafeLoader):  # type: ignore[misc]
    """Without dates, `=`, and `yes`, `no`, `on`, `off`, which are words in manifests."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _LEFT_OUT]
        for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF"))


class YamlError(ManifestError):
    """A text that is no YAML; says where."""


def read_documents(text: str, *, name: str) -> list[Any]:
    """Read all documents of a file that are not empty. Raises YamlError; `name` is the file's, for the error."""
    try:
        return [one for one in yaml.load_all(text, _Loader) if one is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise YamlError(f"{name}{where}: it is no YAML: {getattr(error, 'problem', None) or error}") from error


def read_manifests(text: str, *, name: str) -> list[dict[str, Any]]:
    """Read the objects of a file, those of `List`s too. Raises YamlError for what is none."""
    found: list[dict[str, Any]] = []
    for document in read_documents(text, name=name):
        if not isinstance(document, dict) or "kind" not in document or "apiVersion" not in document:
            raise YamlError(f"{name}: a document there has no apiVersion and kind, so it is no Kubernetes object")
        found += document.get("items") or [] if document["kind"] == "List" else [document]
    return found
