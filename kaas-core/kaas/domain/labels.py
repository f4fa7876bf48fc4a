"""Labels and taints that users may give their nodes: Kubernetes' syntax, without what is not theirs to set."""

import re
from collections.abc import Mapping, Sequence

from kaas.domain.errors import Problem
from kaas.domain.model import Taint
from kaas.domain.names import CLUSTER_LABEL, NODE_LABEL, ROLE_LABEL

MAX_LABELS = 32
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_MAX_PREFIX = 253
_WORD = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_OWN = frozenset({CLUSTER_LABEL, NODE_LABEL, ROLE_LABEL})
_RESERVED = ("kubernetes.io", "k8s.io")
_FREE = ("node.kubernetes.io", "kubelet.kubernetes.io")
"""Reserved prefixes under which a kubelet may label its own node all the same."""
_MAX_SHOWN = 80


def check_labels(field: str, labels: Mapping[str, str]) -> list[Problem]:
    """Say all that is wrong with labels; `field` is where they stand in the request."""
    problems = []
    if len(labels) > MAX_LABELS:
        problems.append(Problem(field, f"there are {len(labels)} labels; {MAX_LABELS} are allowed"))
    for key, value in labels.items():
        place = f"{field}[{key[:_MAX_SHOWN]!r}]"
        if problem := _key_problem(key):
            problems.append(Problem(place, problem))
        if problem := _value_problem(value):
            problems.append(Problem(place, problem))
    return problems


def check_taints(field: str, taints: Sequence[Taint]) -> list[Problem]:
    """Say all that is wrong with taints."""
    problems = []
    if len(taints) > MAX_LABELS:
        problems.append(Problem(field, f"there are {len(taints)} taints; {MAX_LABELS} are allowed"))
    for place, taint in ((f"{field}[{number}]", taint) for number, taint in enumerate(taints)):
        if problem := _key_problem(taint.key):
            problems.append(Problem(f"{place}.key", problem))
        if problem := _value_problem(taint.value):
            problems.append(Problem(f"{place}.value", problem))
        if taint.effect not in EFFECTS:
            problems.append(
                Problem(f"{place}.effect", f"{taint.effect[:_MAX_SHOWN]!r} is none of {', '.join(EFFECTS)}")
            )
    pairs = [(taint.key, taint.effect) for taint in taints]
    if len(set(pairs)) < len(pairs):
        problems.append(Problem(field, "two taints have one key and effect"))
    return problems


def _key_problem(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if not _WORD.fullmatch(name) or (slash and not (len(prefix) <= _MAX_PREFIX and _DNS_NAME.fullmatch(prefix))):
        return (
            f"{key[:_MAX_SHOWN]!r} is no label key: letters, digits, `.`, `_` and `-`, at most 63 characters, "
            "with a DNS name and a slash before it or without"
        )
    if key in _OWN or (_is_under(prefix, _RESERVED) and not _is_under(prefix, _FREE)):
        return f"{key[:_MAX_SHOWN]!r} is set by Kubernetes or by this service; choose another key"
    return ""


def _is_under(prefix: str, domains: Sequence[str]) -> bool:
    return any(prefix == domain or prefix.endswith("." + domain) for domain in domains)


def _value_problem(value: str) -> str:
    if not value or _WORD.fullmatch(value):
        return ""
    return (
        f"{value[:_MAX_SHOWN]!r} is no label value: letters, digits, `.`, `_` and `-`, at most 63 characters, "
        "a letter or digit at both ends"
    )
