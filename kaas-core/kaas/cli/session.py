"""What all commands share: the options before them, and how their work is run and its errors are told."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import typer

from kaas.cli.answers import Operation, Plan, read
from kaas.cli.client import Answer, Api
from kaas.cli.config import find
from kaas.cli.errors import CliError, ExitCode, printable
from kaas.cli.output import Format, note, show, show_plan
from kaas.cli.waiting import how_to_go_on, watch
from process.kinds import DURATION

Result = TypeVar("Result")
DEFAULT_TIMEOUT = "30m"


@dataclass(slots=True)
class Session:
    """One run of the program."""

    url: str
    key: str
    form: Format
    poll_s: float
    watched: str = ""
    """The operation that is being watched, for who ends the watching."""

    def run(self, work: Callable[[Api], Awaitable[Result]]) -> Result:
        """Do the work of a command; every error becomes a sentence and an exit code."""
        try:
            return self.told(lambda: asyncio.run(self._run(work)))
        except KeyboardInterrupt:
            more = f"; the operation goes on. {how_to_go_on(self.watched)}" if self.watched else ""
            note(f"\ncloud: interrupted{more}")
            raise typer.Exit(ExitCode.INTERRUPTED) from None

    def told(self, work: Callable[[], Result]) -> Result:
        """Do a part of a command that asks nobody, with its errors told in the same way."""
        try:
            return work()
        except CliError as error:
            note(f"cloud: {error.message}")
            for detail in error.details:
                note(f"  {detail}")
            raise typer.Exit(error.exit_code) from error

    def change(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None,
        *,
        what: str,
        dry_run: bool,
        wait: bool,
        timeout_s: float | None,
        **query: str | None,
    ) -> None:
        """Ask for a change that is answered without a payload: plan it, or carry it out and perhaps watch it."""

        async def work(api: Api) -> None:
            answer = await api.change(method, path, body, dry_run=dry(dry_run), **query)
            if dry_run:
                self.plan(answer)
            else:
                await self.finish(api, answer, wait=wait, timeout_s=timeout_s, what=what)
                await self._tell_operation(api, answer.operation_id)

        self.run(work)

    async def _tell_operation(self, api: Api, operation_id: str) -> None:
        """Write the operation that a change became where a program reads along."""
        if operation_id and self.form is not Format.TABLE:
            found = await api.get(f"/operations/{operation_id}")
            show(self.form, found.data, names=[operation_id], columns=(), rows=())

    async def _run(self, work: Callable[[Api], Awaitable[Result]]) -> Result:
        where = find(self.url, self.key, os.environ)
        async with Api(where.url, where.key) as api:
            return await work(api)

    async def watch(self, api: Api, operation_id: str, timeout_s: float | None) -> Operation:
        """Watch an operation to its good end, and name the volumes that it kept. Raises CliError."""
        self.watched = operation_id
        operation = await watch(api, operation_id, timeout_s=timeout_s, poll_s=self.poll_s)
        self.watched = ""
        for volume in operation.kept_volumes:
            note(f"kept, with all that is on it: volume {volume.name} ({volume.id})")
        return operation

    async def finish(self, api: Api, answer: Answer, *, wait: bool, timeout_s: float | None, what: str) -> None:
        """Watch what a change became, or tell how it is watched."""
        if not answer.operation_id:
            return
        if wait:
            await self.watch(api, answer.operation_id, timeout_s)
        else:
            note(f"{what}. {how_to_go_on(answer.operation_id)}")

    def plan(self, answer: Answer) -> None:
        """Write the plan that a dry run was answered with."""
        show_plan(self.form, answer.data, read(answer.data, Plan))


def session_of(context: typer.Context) -> Session:
    """Give the session of a command."""
    session = context.find_object(Session)
    if session is None:
        raise CliError("the program was not started by its main function")
    return session


def seconds_of(text: str) -> float:
    """Read a duration such as `90`, `10m` or `1h30m`."""
    try:
        return DURATION.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def limit_of(text: str) -> float | None:
    """Read the time that is waited; 0 is for ever."""
    return seconds_of(text) or None


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something goes that nobody brings back, unless `yes`. Raises CliError for anything but a yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CliError("nobody is there to ask; say --yes", exit_code=ExitCode.USAGE)
    if not typer.confirm(printable(question), err=True):
        raise CliError("nothing was deleted")


def dry(is_dry: Any) -> str | None:
    """Give the query of a dry run."""
    return "plan" if is_dry else None


Ref = Annotated[str, typer.Argument(metavar="CLUSTER", help="Id or name of a cluster.", show_default=False)]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done, and show how far it is.")]
Timeout = Annotated[str, typer.Option(help="How long to wait, such as 90s, 10m or 1h; 0: for ever.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would happen, and change nothing.")]
