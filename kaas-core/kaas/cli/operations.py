"""Commands that tell what is done to clusters, and what happened to them."""

import asyncio
import sys
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

import typer

from kaas.cli.answers import Event, Operation, Step, read
from kaas.cli.client import Answer, Api, cluster_path, compact
from kaas.cli.errors import CliError, SilentServiceError, printable
from kaas.cli.output import Format, age, duration, note, show
from kaas.cli.session import DEFAULT_TIMEOUT, Timeout, limit_of, session_of
from kaas.cli.waiting import head

_COLUMNS = ("ID", "KIND", "STATE", "TOOK", "BY", "CLUSTER", "ERROR")
_NOT_FOUND = "NOT_FOUND"
_PAGE = 1000


def operations(
    context: typer.Context,
    *,
    what: Annotated[
        str, typer.Argument(metavar="[CLUSTER|OPERATION]", help="Of one cluster, or one operation with its steps.")
    ] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Watch the operation to its end.")] = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """List operations, or show one with its steps."""
    session, limit = session_of(context), limit_of(timeout)

    async def work(api: Api) -> None:
        one = await _find(api, what)
        if one is not None and wait:
            await session.watch(api, read(one.data, Operation).id, limit)
            one = await _find(api, what)
        if one is not None:
            _show_one(session.form, one)
            return
        if wait:
            raise CliError(f"there is no operation {what!r}; `cloud k8s operations` shows all")
        _show_all(session.form, await api.all("/operations", cluster=what))

    session.run(work)


def cancel(
    context: typer.Context,
    *,
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="Id of an operation.", show_default=False)],
) -> None:
    """Ask an operation to end at its next step."""
    session = session_of(context)
    session.run(lambda api: api.change("POST", f"/operations/{quote(operation, safe='')}/cancel"))
    note(f"operation {operation} ends at its next step")


def events(
    context: typer.Context,
    *,
    cluster: Annotated[str, typer.Argument(metavar="[CLUSTER]", help="Id or name of a cluster; default: all.")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens from now on.")] = False,
) -> None:
    """Show what happened, oldest first."""
    session = session_of(context)
    path = cluster_path(cluster, "events") if cluster else "/events"

    async def work(api: Api) -> None:
        after = ""
        while True:
            try:
                answer = await api.get(path, after=after, limit=_PAGE)
            except SilentServiceError as error:
                if not after:
                    raise
                note(f"{error.message}; trying again")
                await asyncio.sleep(session.poll_s)
                continue
            seen = read(answer.data or [], list[Event])
            _show_events(session.form, answer, seen, follow=follow)
            after = seen[-1].id if seen else after
            if len(seen) < _PAGE:
                if not follow:
                    return
                await asyncio.sleep(session.poll_s)

    session.run(work)


async def _find(api: Api, what: str) -> Answer | None:
    """Give the operation of an id; None when it is none, since clusters have ids too."""
    try:
        UUID(what)
    except ValueError:
        return None
    try:
        return await api.get(f"/operations/{what}")
    except CliError as error:
        if error.code == _NOT_FOUND:
            return None
        raise


def _show_one(form: Format, answer: Answer) -> None:
    operation = read(answer.data, Operation)
    show(
        form,
        answer.data,
        names=[operation.id],
        columns=("STEP", "STATE", "TRIES", "TOOK", "ERROR"),
        rows=[_step_row(step) for step in operation.steps],
    )
    if form is Format.TABLE:
        note(f"{head(operation)}{f'  {operation.error}' if operation.error else ''}")


def _show_all(form: Format, answer: Answer) -> None:
    found = read(answer.data or [], list[Operation])
    show(form, answer.data or [], names=[one.id for one in found], columns=_COLUMNS, rows=[_row(one) for one in found])


def _row(operation: Operation) -> tuple[str, ...]:
    took = (
        duration((operation.finished_at - operation.created_at).total_seconds())
        if operation.finished_at
        else age(operation.created_at)
    )
    return (
        operation.id,
        operation.kind,
        operation.state,
        took,
        operation.requested_by,
        operation.cluster_id,
        operation.error,
    )


def _step_row(step: Step) -> tuple[str, ...]:
    if step.started_at is None:
        took = ""
    elif step.finished_at is None:
        took = age(step.started_at)
    else:
        took = duration((step.finished_at - step.started_at).total_seconds())
    return step.key, step.state, str(step.attempt), took, step.error


def _show_events(form: Format, answer: Answer, seen: list[Event], *, follow: bool) -> None:
    if form is Format.JSON and follow:
        sys.stdout.write("".join(f"{compact(event)}\n" for event in answer.data or ()))
    elif form is Format.TABLE and follow:
        sys.stdout.write("".join(f"{printable('  '.join(_event_row(event)))}\n" for event in seen))
    else:
        columns = ("TIME", "SEVERITY", "CODE", "MESSAGE")
        names = [event.id for event in seen]
        show(form, answer.data or [], names=names, columns=columns, rows=[_event_row(event) for event in seen])
    sys.stdout.flush()


def _event_row(event: Event) -> tuple[str, ...]:
    moment = "" if event.created_at is None else event.created_at.isoformat(timespec="seconds")
    return moment, event.severity, event.code, event.message
