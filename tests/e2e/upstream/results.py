"""Reads what ginkgo wrote (JUnit) and says of each spec what came of it. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from xml.etree import ElementTree as ET

_LABELS = re.compile(r"( \[[^\]]*\])+$")
_IT = "[It] "
"""Beginning of a spec's name; what runs before and after the suite is in the file as well."""
_UNSELECTED = "skipped"
_REASON = "skipped - "


class Outcome(Enum):
    """What came of a spec."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """By the suite itself, which says why."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One spec of one run."""

    name: str
    outcome: Outcome
    seconds: float
    reason: str = ""


def read(junit: str) -> tuple[Spec, ...]:
    """Give the specs that were selected; those filtered out are in the file as well and are left out here."""
    # Written by the suite that this process started.
    root = ET.fromstring(junit)
    specs = (case for case in root.iter("testcase") if case.get("name", "").startswith(_IT))
    return tuple(spec for case in specs if (spec := _spec(case)) is not None)


def merge(runs: Iterable[Iterable[Spec]]) -> Mapping[str, Spec]:
    """Give one outcome for each spec of several runs: a spec that failed in any of them failed."""
    order = (Outcome.FAILED, Outcome.PASSED, Outcome.SKIPPED)
    found: dict[str, Spec] = {}
    for spec in (spec for run in runs for spec in run):
        known = found.get(spec.name)
        if known is None or order.index(spec.outcome) < order.index(known.outcome):
            found[spec.name] = spec
    return found


def _spec(case: ET.Element) -> Spec | None:
    name = _LABELS.sub("", case.get("name", "").removeprefix(_IT))
    seconds = float(case.get("time", "0"))
    problem = case.find("failure") if case.find("failure") is not None else case.find("error")
    if problem is not None:
        return Spec(name, Outcome.FAILED, seconds, (problem.get("message") or problem.text or "")[:400])
    skipped = case.find("skipped")
    if skipped is None:
        return Spec(name, Outcome.PASSED, seconds) if case.get("status", "passed") == "passed" else None
    message = skipped.get("message", _UNSELECTED)
    if not message.startswith(_REASON):
        return None
    return Spec(name, Outcome.SKIPPED, seconds, message.removeprefix(_REASON))
