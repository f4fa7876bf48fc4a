"""The program `kaas`: its commands.

    kaas serve | api | conductor | migrate | quota | keyring new | keyring add | keyring rewrap
    | conductors list | conductors disable | conductors enable | user add | config check

Belongs here: the command line. Does not belong here: the life of what serves (`kaas.service`), wiring (`kaas.app`).
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Generic, TypeVar

from kaas import people
from kaas.crypto.keyring import add_key, new_keyring
from kaas.domain.errors import KaasError
from kaas.settings import (
    ConductorSettings,
    KeyRingSettings,
    QuotaSettings,
    SealingSettings,
    ServiceSettings,
    StateOptions,
    TableSettings,
    UserSettings,
)
from kaas.unfit import UnfitError, make_folder
from process.command_line import EXIT_FAILED, EXIT_OK, EXIT_USAGE, settings_or_exit_code
from process.logs import configure_logging

PROGRAM = "kaas"
DISTRIBUTION = "thecloud-kubernetes"
SUMMARY = "Kubernetes clusters on The Cloud."
_CHATTY = ("alembic", "asyncssh", "procrastinate", "uvicorn", "aiosqlite")

Options = TypeVar("Options", bound=StateOptions)


@dataclass(frozen=True, slots=True)
class Command(Generic[Options]):
    """One command; `run` gives its exit code."""

    summary: str
    options: type[Options]
    run: Callable[[Options], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; gives its exit code: 0 after SIGTERM or SIGINT, 1 for a failure, 2 for settings."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        _say(f"{PROGRAM} {version(DISTRIBUTION)}")
        return EXIT_OK
    if words[:1] in (["--help"], ["-h"], ["help"]):
        _say(_help())
        return EXIT_OK
    for length in (2, 1):
        command = COMMANDS.get(" ".join(words[:length]))
        if command is not None and len(words) >= length:
            return _run(" ".join(words[:length]), command, words[length:])
    sys.stderr.write(_help() + "\n")
    return EXIT_USAGE


def _run(name: str, command: Command[Any], words: Sequence[str]) -> int:
    settings = settings_or_exit_code(f"{PROGRAM} {name}", command.summary, command.options, words)
    if isinstance(settings, int):
        return settings
    configure_logging(level=settings.log_level, form=settings.log_format)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        return command.run(settings)
    except UnfitError as error:
        problems = error.problems
    except KaasError as error:
        problems = (error.message,)
    except OSError as error:
        problems = (f"{error.filename}: {error.strerror}" if error.filename else str(error),)
    sys.stderr.write("".join(f"{PROGRAM}: {problem}\n" for problem in problems))
    return EXIT_FAILED


def _serve(settings: ServiceSettings) -> int:
    return _run_parts(settings, api=True, conductor=True)


def _serve_api(settings: ServiceSettings) -> int:
    return _run_parts(settings, api=True, conductor=False)


def _conduct(settings: ServiceSettings) -> int:
    return _run_parts(settings, api=False, conductor=True)


def _run_parts(settings: ServiceSettings, *, api: bool, conductor: bool) -> int:
    from kaas import app, service  # noqa: PLC0415 - what serves takes a second to load, which the small commands spare

    return service.run(settings, app.Parts(api=api, conductor=conductor), lambda line: _say(f"{PROGRAM}: {line}"))


def _migrate(settings: TableSettings) -> int:
    from kaas import service  # noqa: PLC0415 - as above

    make_folder(settings.state_dir)
    _say(f"the tables have revision {asyncio.run(service.migrate_tables(settings))}")
    return EXIT_OK


def _quota(settings: QuotaSettings) -> int:
    return _tell(settings, people.limit(settings.database, settings.tenant, settings.limits))


def _list_conductors(settings: TableSettings) -> int:
    return _tell(settings, people.conductors(settings.database))


def _disable_conductor(settings: ConductorSettings) -> int:
    return _tell(settings, people.disable(settings.database, settings.conductor, settings.reason))


def _enable_conductor(settings: ConductorSettings) -> int:
    return _tell(settings, people.enable(settings.database, settings.conductor))


def _tell(settings: TableSettings, asked: Coroutine[Any, Any, str]) -> int:
    """Ask the tables something, when they are of this release, and say the answer."""
    from kaas import service  # noqa: PLC0415 - as above

    async def work() -> str:
        with contextlib.closing(asked):
            await service.check_tables(settings, migrates=False)
            return await asked

    _say(asyncio.run(work()))
    return EXIT_OK


def _new_keyring(settings: KeyRingSettings) -> int:
    make_folder(settings.state_dir)
    key_id = new_keyring(settings.keyring)
    _say(f"{settings.keyring} has key {key_id}; keep a copy of it apart from the database's, nothing opens without it")
    return EXIT_OK


def _add_key(settings: KeyRingSettings) -> int:
    key_id = add_key(settings.keyring)
    _say(f"{settings.keyring} seals with key {key_id} from now on; older keys still open what they sealed")
    return EXIT_OK


def _rewrap(settings: SealingSettings) -> int:
    from kaas import service  # noqa: PLC0415 - as above

    came = asyncio.run(service.rewrap(settings))
    _say(str(came))
    if came.failed:
        raise UnfitError(*came.failed)
    return EXIT_OK


def _add_user(settings: UserSettings) -> int:
    make_folder(settings.state_dir)
    key = people.add(settings.users, people.Person(settings.user, settings.tenant, settings.role))
    _say(
        f"{settings.user} is {settings.role.value} of tenant {settings.tenant}. The key is shown this once; "
        f"only its digest is in {settings.users}:\n\n    export CLOUD_API_KEY={key}\n"
    )
    return EXIT_OK


def _check_config(settings: ServiceSettings) -> int:
    from kaas import service  # noqa: PLC0415 - as above

    if problems := asyncio.run(service.problems_of(settings)):
        raise UnfitError(*problems)
    _say("everything that the settings name is there and fits together")
    return EXIT_OK


def _help() -> str:
    lines = [f"usage: {PROGRAM} COMMAND [--OPTION VALUE ...]", "", SUMMARY, "", "commands:"]
    lines += [f"  {name:<18} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", f"`{PROGRAM} COMMAND --help` shows a command's options."])


def _say(text: str) -> None:
    # At once: whoever started this process may wait for the line.
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


COMMANDS: Mapping[str, Command[Any]] = {
    "serve": Command("Serve the API and conduct, in one process.", ServiceSettings, _serve),
    "api": Command("Serve the API alone.", ServiceSettings, _serve_api),
    "conductor": Command(
        "Conduct alone; any number may with --engine procrastinate.",
        ServiceSettings,
        _conduct,
    ),
    "migrate": Command("Bring the tables to this release.", TableSettings, _migrate),
    "quota": Command("Show what a tenant may use and uses, and set its limits.", QuotaSettings, _quota),
    "conductors list": Command(
        "Show which conductors there are, and who is disabled.", TableSettings, _list_conductors
    ),
    "conductors disable": Command("Let a conductor take no more clusters.", ConductorSettings, _disable_conductor),
    "conductors enable": Command("Let a conductor take clusters again.", ConductorSettings, _enable_conductor),
    "keyring new": Command("Make the keys that secrets are sealed with.", KeyRingSettings, _new_keyring),
    "keyring add": Command("Add a key that seals from now on.", KeyRingSettings, _add_key),
    "keyring rewrap": Command("Bring stored secrets under the newest key.", SealingSettings, _rewrap),
    "user add": Command("Let somebody in, and show their key once.", UserSettings, _add_user),
    "config check": Command("See whether everything that the settings name fits.", ServiceSettings, _check_config),
}

if __name__ == "__main__":
    sys.exit(main())
