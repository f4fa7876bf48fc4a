"""docs/conformance.md, written from results."""

import datetime as dt
from collections.abc import Mapping

from tests.e2e.upstream import driver_file
from tests.e2e.upstream.excluded import excluded
from tests.e2e.upstream.results import Outcome, Spec

_HEAD = """# Conformance

The storage suite of Kubernetes (`e2e.test`, focus `External.Storage`) against this driver, in a cluster of kubeadm on
devcloud's machines. Written by `make e2e-upstream-full`; do not edit.
"""


def page(found: Mapping[str, Mapping[str, Spec]], *, versions: str, full: bool, has_resource: bool) -> str:
    """Give the page: counts, failures, and every skip with its reason."""
    today = dt.datetime.now(tz=dt.UTC).date()
    lines = [_HEAD, f"{today}, {'every part' if full else 'the plain part'}. {' '.join(versions.split())}", ""]
    lines += ["| Default file system | passed | failed | skipped |", "|---|---|---|---|"]
    for fs_type, specs in found.items():
        counts = [sum(spec.outcome is outcome for spec in specs.values()) for outcome in Outcome]
        lines.append(f"| {fs_type} | {' | '.join(map(str, counts))} |")
    lines += ["", "## Left away", "", "| File system | Specs | Reason |", "|---|---|---|"]
    for one in dict.fromkeys(one for fs_type in found for one in excluded(fs_type, has_resource=has_resource)):
        lines.append(f"| {one.fs_type or 'every'} | `{_cell(one.pattern)}` | {_cell(one.reason)} |")
    lines += ["", "## Capabilities that are not claimed", ""]
    lines += [f"- `{name}`: {reason}" for name, reason in driver_file.NOT_CLAIMED.items()]
    for title, outcome in (("Failed", Outcome.FAILED), ("Skipped by the suite", Outcome.SKIPPED)):
        chosen = [(fs, spec) for fs, specs in found.items() for spec in specs.values() if spec.outcome is outcome]
        if chosen:
            lines += ["", f"## {title}", "", "| File system | Spec | Reason |", "|---|---|---|"]
            lines += [f"| {fs} | {_cell(spec.name)} | {_cell(spec.reason)} |" for fs, spec in sorted(chosen, key=_key)]
    return "\n".join(lines) + "\n"


def _key(item: tuple[str, Spec]) -> tuple[str, str]:
    return item[1].name, item[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").removeprefix("External Storage [Driver: csi.thecloud.io] ")[:300]
