"""What is put into manifests for one cluster: the label of an addon, and texts in the place of marks. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

ADDON_LABEL = "kaas-addon"
"""Its value is the addon's name; what carries it and is no longer part of the addon is taken away."""

Manifest = dict[str, Any]
"""An object as the API takes it. Objects of several clusters share what is the same: they are read, never changed."""


def labelled(addon: str, objects: Iterable[Mapping[str, Any]]) -> list[Manifest]:
    """Give objects with the label of an addon; their pods do not get it, and the originals stay as they are."""
    found = []
    for one in objects:
        metadata = one.get("metadata") or {}
        labels = {**(metadata.get("labels") or {}), ADDON_LABEL: addon}
        found.append({**one, "metadata": {**metadata, "labels": labels}})
    return found


def filled(value: Any, texts: Mapping[str, str]) -> Any:
    """Give a value with the text of each mark in its place; what holds no mark is the same object as before."""
    if isinstance(value, str):
        for mark, text in texts.items():
            value = value.replace(mark, text)
        return value
    if isinstance(value, list):
        items = [filled(one, texts) for one in value]
        return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
    if isinstance(value, Mapping):
        fields = {key: filled(one, texts) for key, one in value.items()}
        return fields if any(fields[key] is not one for key, one in value.items()) else value
    return value
