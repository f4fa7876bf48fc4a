"""Watching an operation to its end: a tree that lives on a terminal, plain lines everywhere else."""

import asyncio
import sys
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text
from rich.tree import Tree

from kaas.cli.answers import Operation, Step, read
from kaas.cli.client import Api
from kaas.cli.errors import CliError, ExitCode, SilentServiceError, printable
from kaas.cli.output import console, duration, note, styled

_MARKS = {"done": ("✔", "green"), "running": ("●", "cyan"), "waiting": ("…", "yellow"), "failed": ("✘", "red")}


class View(Protocol):
    """Shows how far an operation is."""

    def show(self, operation: Operation) -> None:
        """Show what is known now."""
        ...


class Lines:
    """A line for each step whose state has changed, for logs and pipes."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int]] = {}

    def show(self, operation: Operation) -> None:
        """Write what is new."""
        for step in operation.steps:
            if self._seen.get(step.key) != (step.state, step.attempt):
                self._seen[step.key] = (step.state, step.attempt)
                note(f"{head(operation)}  {describe(step)}")


class Living:
    """A tree that is drawn anew in its place."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, operation: Operation) -> None:
        """Draw it."""
        self._live.update(tree_of(operation), refresh=True)


async def watch(api: Api, operation_id: str, *, timeout_s: float | None, poll_s: float) -> Operation:
    """Wait until an operation has ended well. Raises CliError: FAILED_OPERATION, or TIMED_OUT while it goes on."""
    screen = console(sys.stderr)
    live = Live(console=screen, auto_refresh=False) if screen.is_terminal else None
    context: AbstractContextManager[object] = live if live is not None else nullcontext()
    try:
        async with asyncio.timeout(timeout_s):
            with context:
                operation = await _until_end(api, operation_id, Living(live) if live else Lines(), poll_s)
    except TimeoutError:
        raise CliError(
            f"not done after {duration(timeout_s or 0)}; it goes on. {how_to_go_on(operation_id)}",
            exit_code=ExitCode.TIMED_OUT,
        ) from None
    if operation.state != "succeeded":
        raise _failed(operation)
    return operation


def how_to_go_on(operation_id: str) -> str:
    """Tell how an operation is watched."""
    return f"Watch it: cloud k8s operations {operation_id} --wait"


def tree_of(operation: Operation) -> RenderableType:
    """Draw an operation with its steps; steps of one kind stand together."""
    root = Tree(styled_head(operation))
    kinds: dict[str, list[Step]] = {}
    for step in operation.steps:
        kinds.setdefault(step.key.partition("/")[0], []).append(step)
    for kind, steps in kinds.items():
        if len(steps) == 1:
            root.add(_leaf(steps[0]))
            continue
        done = sum(step.state == "done" for step in steps)
        branch = root.add(Text(f"{printable(kind)} {done}/{len(steps)}", style="green" if done == len(steps) else ""))
        for step in steps:
            branch.add(_leaf(step))
    return Group(root)


def head(operation: Operation) -> str:
    """Say how far an operation is, in a line."""
    so_far = ((operation.finished_at or datetime.now(UTC)) - operation.created_at).total_seconds()
    words = [operation.kind, operation.state, duration(so_far)]
    if operation.progress_percent is not None:
        words.append(f"{operation.progress_percent} %")
    if operation.eta_s is not None:
        words.append(f"about {duration(operation.eta_s)} left")
    return "  ".join(words)


def styled_head(operation: Operation) -> Text:
    """Give the line in the colour of the operation's state."""
    return Text(printable(head(operation)), style=styled(operation.state).style)


def describe(step: Step) -> str:
    """Say where a step is."""
    attempt = f", try {step.attempt}" if step.attempt > 1 else ""
    error = f": {step.error}" if step.error else ""
    return f"{step.key}  {step.state}{attempt}{error}"


async def _until_end(api: Api, operation_id: str, view: View, poll_s: float) -> Operation:
    silent = False
    while True:
        try:
            operation = read((await api.get(f"/operations/{operation_id}")).data, Operation)
            silent = False
        except SilentServiceError as error:
            # The operation does not need the service's API to go on, nor do we give up on it.
            if not silent:
                note(f"{error.message}; trying again")
            silent = True
        else:
            view.show(operation)
            if operation.is_final:
                return operation
        await asyncio.sleep(poll_s)


def _failed(operation: Operation) -> CliError:
    why = f": {operation.error}" if operation.error else ""
    code = f" ({operation.error_code})" if operation.error_code else ""
    details = tuple(describe(step) for step in operation.steps if step.state in {"failed", "waiting"})
    hint = f"; see `cloud k8s events` and `cloud k8s show {operation.cluster_id}`" if not why else ""
    return CliError(
        printable(f"the {operation.kind} has {_ENDS.get(operation.state, operation.state)}{code}{why}{hint}"),
        exit_code=ExitCode.FAILED_OPERATION,
        details=tuple(printable(detail) for detail in details),
    )


_ENDS = {"failed": "failed", "cancelled": "been cancelled", "superseded": "been replaced by a newer request"}


def _leaf(step: Step) -> Text:
    mark, style = _MARKS.get(step.state, ("?", ""))
    began, ended = step.started_at, step.finished_at
    took = f"  {duration(((ended or datetime.now(UTC)) - began).total_seconds())}" if began else ""
    return Text(printable(f"{mark} {describe(step)}{took}"), style=style)
