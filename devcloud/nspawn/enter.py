"""Running commands in a machine from outside, as its root.

Works beside a running platform and without one: everything it needs lies in the data folder.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcloud import commands
from devcloud.commands import Finished
from devcloud.errors import BackendError, MissingError
from devcloud.nspawn.records import Finding, MachineFolder, find_leader, folders, look_at

_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd")


def enter_command(leader_pid: int, argv: Sequence[str], *, term: str = "dumb") -> list[str]:
    """Give the command of this host that runs a command in a machine, with a clean environment."""
    environment = [f"PATH={commands.SEARCH_PATH}", "HOME=/root", "LANG=C.UTF-8", f"TERM={term}"]
    return ["nsenter", "--target", str(leader_pid), *_NAMESPACES, "--", "env", "-i", *environment, *argv]


async def run(
    data_dir: Path, machine: str, argv: Sequence[str], *, timeout_s: float, stdin: bytes | None = None
) -> Finished:
    """Run a command in the machine of an instance, given by id, host name or name, and give what came of it.

    Raises MissingError for no or several such instances, BackendError when the machine does not run,
    CommandTimeoutError after `timeout_s` (the command is killed).
    """
    leader = find_running(data_dir, machine)
    return await commands.run(enter_command(leader, argv), timeout_s=timeout_s, stdin=stdin)


def replace_process(data_dir: Path, machine: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
    """Become a command in the machine, with this process's input, output and exit code; raises as `run`."""
    leader = find_running(data_dir, machine)
    command = enter_command(leader, argv, term=environment.get("TERM", "dumb"))
    os.execvpe(command[0], command, dict(commands.ENVIRONMENT))  # noqa: S606


def find_running(data_dir: Path, machine: str) -> int:
    """Give the number of the first process of an instance's machine; raises MissingError, BackendError."""
    folder = _find(data_dir, machine)
    last = folder.read_run()
    if last is not None and look_at(last) is Finding.GOES_ON:
        leader = find_leader(last)
        if leader is not None:
            return leader.pid
    raise BackendError(f"the machine of instance {machine} does not run")


def _find(data_dir: Path, wanted: str) -> MachineFolder:
    known = [(folder, made) for folder in folders(data_dir / "nspawn") if (made := folder.read_machine()) is not None]
    for attribute in ("instance_id", "hostname", "name"):
        found = [folder for folder, made in known if getattr(made, attribute) == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            raise MissingError("instance", f"{wanted} (several have this {attribute}; name one by its id)")
    names = ", ".join(sorted(made.name for _, made in known)) or "none"
    raise MissingError("instance", f"{wanted} (with a machine in {data_dir}: {names})")
