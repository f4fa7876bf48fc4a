"""Versions of Kubernetes: how they are written, and which may follow which."""

import re
from dataclasses import dataclass

_TEXT = re.compile(r"v?(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})")
_MAX_SHOWN = 40


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A released version; ordered as releases are."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}.{self.patch}"


def parse_version(text: str) -> Version:
    """Read `v1.29.0`; the `v` may be missing. Raises ValueError with a whole sentence."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:_MAX_SHOWN]!r} is no version; it looks like v1.29.0")
    major, minor, patch = map(int, match.groups())
    return Version(major, minor, patch)


def upgrade_problem(running: Version, wanted: Version) -> str:
    """Say why a control plane cannot go from one version to another; empty when it can."""
    if wanted == running:
        return f"the cluster runs {running} already"
    if wanted < running:
        return f"{wanted} is older than {running}, and Kubernetes cannot go back; restore a backup instead"
    if wanted.major != running.major:
        return f"{wanted} is of another major version than {running}; there is no way from one to the other"
    if wanted.minor > running.minor + 1:
        return (
            f"from {running} to {wanted} minor versions are left out; go to v{running.major}.{running.minor + 1} first"
        )
    return ""
