"""docs/conformance.md, written from results."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.e2e.upstream import driver_file
from tests.e2e.upstream.excluded import Excluded, excluded
from tests.e2e.upstream.results import Outcome, Spec

_HEAD = """# Conformance

The storage suite of Kubernetes (`e2e.test`, focus `External.Storage`) against this driver, in a cluster of kubeadm on
devcloud's machines. Written by `make e2e-upstream-full`; do not edit.
"""


BALANCERS_HEADING = "\n## Load balancers"


@dataclass(frozen=True, slots=True)
class Results:
    """What came of the specs with one default file system."""

    specs: Mapping[str, Spec]
    not_run: Sequence[str] = ()
    """Parts of the suite that were not run."""


def page(found: Mapping[str, Results], *, versions: str, has_resource: bool) -> str:
    """Give the page: counts, failures, and every skip with its reason."""
    lines = [_HEAD, f"{dt.datetime.now(tz=dt.UTC).date()}. {' '.join(versions.split())}", ""]
    lines += [
        "| Default file system | passed | failed | skipped by the suite | parts not run |",
        "|---|---|---|---|---|",
    ]
    for fs_type, one in found.items():
        counts = [sum(spec.outcome is outcome for spec in one.specs.values()) for outcome in Outcome]
        lines.append(f"| {fs_type} | {' | '.join(map(str, counts))} | {', '.join(one.not_run) or 'none'} |")
    lines += ["", "## Left away", "", "| File system | Specs | Reason |", "|---|---|---|"]
    for left in dict.fromkeys(left for fs_type in found for left in excluded(fs_type, has_resource=has_resource)):
        lines.append(f"| {left.fs_type or 'every'} | `{_cell(left.pattern)}` | {_cell(left.reason)} |")
    lines += ["", "## Capabilities that are not claimed", ""]
    lines += [f"- `{name}`: {reason}" for name, reason in driver_file.NOT_CLAIMED.items()]
    for title, outcome in (("Failed", Outcome.FAILED), ("Skipped by the suite", Outcome.SKIPPED)):
        chosen = [(fs, spec) for fs, one in found.items() for spec in one.specs.values() if spec.outcome is outcome]
        if chosen:
            lines += ["", f"## {title}", "", "| File system | Spec | Reason |", "|---|---|---|"]
            lines += [f"| {fs} | {_cell(spec.name)} | {_cell(spec.reason)} |" for fs, spec in sorted(chosen, key=_key)]
    return "\n".join(lines) + "\n"


def balancer_section(specs: Mapping[str, Spec], left_away: Sequence[Excluded]) -> str:
    """Give the part of the page about load balancers."""
    counts = ", ".join(
        f"{sum(one.outcome is outcome for one in specs.values())} {outcome.value}" for outcome in Outcome
    )
    lines = [BALANCERS_HEADING, "", f"Specs of `LoadBalancers`, asked from outside of the cluster: {counts}.", ""]
    lines += ["| Spec | Outcome | Reason |", "|---|---|---|"]
    lines += [f"| {_cell(one.name)} | {one.outcome.value} | {_cell(one.reason)} |" for one in specs.values()]
    lines += [f"| `{_cell(one.pattern)}` | left away | {_cell(one.reason)} |" for one in left_away]
    return "\n".join(lines) + "\n"


def _key(item: tuple[str, Spec]) -> tuple[str, str]:
    return item[1].name, item[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").removeprefix("External Storage [Driver: csi.thecloud.io] ")[:300]
