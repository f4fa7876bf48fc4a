"""The pages about the cluster service say what its code says: states, roles, rules, commands, options."""

import dataclasses
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import typer.main

from kaas.bootstrap.kubeadm import HostQuirks
from kaas.cli.app import make_app
from kaas.cli.errors import ExitCode
from kaas.db.quotas import RESOURCES
from kaas.domain.firewall import EVERYBODY, rules_of
from kaas.domain.model import Access, Cni
from kaas.domain.policy import POLICY, Action, Role
from kaas.domain.ports import SELF
from kaas.domain.states import (
    ALLOWED,
    SUPERSEDES,
    WORKING,
    ClusterStatus,
    NodeState,
    OperationKind,
    OperationState,
    RefState,
    StepState,
)
from kaas.program import COMMANDS
from kaas.reconcile.metrics import TABLE
from kaas.reconcile.planner import DEFAULT_OUTCOMES
from process.settings import options_of

DOCS = Path(__file__).parents[3] / "docs"
NOTHING = "\N{EN DASH}"
ENDS = (OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED)


def text(page: str) -> str:
    return (DOCS / page).read_text()


def rows(page: str, first: str) -> list[list[str]]:
    """Give the cells of a table by the first words of its head."""
    lines = iter(text(page).splitlines())
    for line in lines:
        if line.startswith(f"| {first} |"):
            next(lines)
            break
    else:
        raise AssertionError(f"{page} has no table that begins with {first!r}")
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def code(words: Any) -> str:
    return ", ".join(f"`{word}`" for word in sorted(words)) or NOTHING


@pytest.mark.parametrize(
    ("heading", "first", "states"),
    [
        ("Cluster", "Status | Means", ClusterStatus),
        ("Operation", "State | Means | Moved there by", OperationState),
        ("Step", "State | Means | Next", StepState),
        ("Node", "State | Means | Moved there by", NodeState),
        ("External reference", "State | Means", RefState),
    ],
)
def test_every_state_is_explained(heading: str, first: str, states: type[StrEnum], tmp_path: Path) -> None:
    section = re.split(r"^## ", text("kaas-states.md"), flags=re.MULTILINE)
    (page,) = (part for part in section if part.startswith(f"{heading}\n"))
    (tmp_path / "part.md").write_text(page)
    assert [row[0] for row in rows(str(tmp_path / "part.md"), first)] == [f"`{state}`" for state in states]


def test_what_an_operation_is_allowed_from_and_takes_the_place_of() -> None:
    def allowed(kind: OperationKind) -> str:
        statuses = ALLOWED.get(kind, frozenset())
        return "every status" if statuses == set(ClusterStatus) else code(statuses)

    wanted = [[f"`{kind}`", f"`{WORKING[kind]}`", allowed(kind), code(SUPERSEDES[kind])] for kind in OperationKind]
    assert rows("kaas-states.md", "Operation | Cluster meanwhile") == wanted


def test_what_becomes_of_a_cluster_at_the_end_of_an_operation() -> None:
    def told(kind: OperationKind, state: OperationState) -> str:
        outcome = DEFAULT_OUTCOMES[kind, state]
        return "the row goes" if outcome.remove else f"`{outcome.status}`"

    wanted = [[f"`{kind}`", *(told(kind, state) for state in ENDS)] for kind in OperationKind]
    assert rows("kaas-states.md", "Operation | succeeded") == wanted


def test_who_may_do_what() -> None:
    wanted = [[f"`{action}`", *("yes" if action in POLICY[role] else NOTHING for role in Role)] for action in Action]
    assert rows("kaas-security.md", "Action | reader | member | admin") == wanted


def test_the_rules_of_the_security_group() -> None:
    sources = {EVERYBODY: "everybody", SELF: "its own machines"}
    wanted = []
    for rule in rules_of(Access()):
        ports = str(rule.port_min) if rule.port_min == rule.port_max else f"{rule.port_min}-{rule.port_max}"
        wanted.append([rule.protocol, ports, sources[rule.source], rule.description])
    assert rows("kaas-security.md", "Protocol | Port") == wanted


def test_every_command_is_explained() -> None:
    program: Any = typer.main.get_command(make_app())
    explained = {name for row in rows("kaas.md", "Command | Does") for name in re.findall(r"`([a-z-]+)`", row[0])}
    assert explained == set(program.commands["k8s"].commands)


def test_every_exit_code_is_explained() -> None:
    assert [row[0] for row in rows("kaas.md", "Exit code")] == [str(int(one)) for one in ExitCode]


def test_every_pod_network_is_explained() -> None:
    explained = [name for row in rows("kaas.md", "`--cni` | Is") for name in re.findall(r"`([a-z]+)`", row[0])]
    assert sorted(explained) == sorted(Cni)


def test_the_operations_guide_names_what_there_is() -> None:
    guide = text("kaas-operations.md")
    assert [name for name in RESOURCES if f"`{name}`" not in guide] == []
    assert [one.name for one in dataclasses.fields(HostQuirks) if f"`{one.name}`" not in guide] == []
    assert [name for name in COMMANDS if f"kaas {name}" not in guide] == []


@pytest.mark.parametrize("page", ["kaas.md", "kaas-operations.md", "kaas-security.md", "kaas-states.md"])
def test_options_and_metrics_that_are_named_exist(page: str) -> None:
    program: Any = typer.main.get_command(make_app())
    known = {option.flag for command in COMMANDS.values() for option in options_of(command.options)}
    for command in _leaves(program):
        known |= {word for parameter in command.params for word in parameter.opts}
    found = re.findall(r"(?<![\w-])--[a-z][a-z-]+", text(page))
    assert sorted(set(found) - known) == []
    named = {re.sub(r"_(bucket|count|sum)$", "", name) for name in re.findall(r"kaas_[a-z_]+(?=[\[{)` ])", text(page))}
    assert sorted(named - {metric.name for metric in TABLE} - {"kaas_api_requests_total"}) == []


def _leaves(command: Any) -> list[Any]:
    below = [leaf for one in getattr(command, "commands", {}).values() for leaf in _leaves(one)]
    return [command, *below]
