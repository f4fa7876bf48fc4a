"""Tells in which values two Kubernetes objects differ."""

from collections.abc import Iterator, Mapping
from typing import Any

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
    """Give a field of every member, or [] where it does not tell them apart."""
    names = [member.get(field) for member in members if isinstance(member, dict)]
    return names if None not in names and len(set(names)) == len(members) else []


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Give a line for each value that is not the same in both, with its path."""
    one, other = dict(facts(ours)), dict(facts(theirs))
    return [
        f"{path}: {one.get(path, 'missing')!r}, {other.get(path, 'missing')!r}"
        for path in sorted(one.keys() | other.keys())
        if one.get(path, "missing") != other.get(path, "missing")
    ]
