"""The life of what serves and conducts: tables looked at, sockets opened, everything built, and ended in order.

Belongs here: beginning and ending. Does not belong here: wiring (`kaas.app`), and the command line (`kaas.program`).
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from kaas.app import Parts, Service, build, open_keys
from kaas.bootstrap.tls import server_files
from kaas.db import migrate
from kaas.db.store import open_store
from kaas.domain.errors import KaasError, StoreUnavailableError
from kaas.engine import procrastinate_schema
from kaas.engine.advisory_lock import SecondConductorError, only_conductor
from kaas.inputs import read_inputs, read_keyring
from kaas.option_kinds import Descriptor, Place
from kaas.rewrap import Rewrapped, rewrap_all
from kaas.serving import API, PHONE_HOME, ListenError, Server, address_of, handed_over, open_socket
from kaas.settings import EngineName, SealingSettings, ServiceSettings, TableSettings
from kaas.unfit import UnfitError, make_folder
from process.life import Stop, run_until_signal
from thecloud.client import Client
from thecloud.errors import PlatformError

LOG = logging.getLogger("kaas.service")

EXPLAINED = (
    KaasError,
    ListenError,
    SecondConductorError,
    StoreUnavailableError,
    migrate.MigrationError,
    procrastinate_schema.EngineSchemaError,
    OSError,
)
"""Errors whose text says to a person what is wrong."""
_TROUBLE = (StoreUnavailableError, SQLAlchemyError)
_STATUS = "status"
_CHECK_S = 10.0
_MAX_SHOWN = 300
_ADVICE = "end the conductors, run `kaas migrate` with the same settings, and start them again"


def run(settings: ServiceSettings, parts: Parts, tell: Callable[[str], object]) -> int:
    """Serve until a signal, and give the exit code; `tell` gets a line that says where. Raises UnfitError."""
    refused: list[UnfitError] = []

    async def work(stop: Stop) -> None:
        try:
            await serve(settings, parts, stop=stop, tell=tell)
        except UnfitError as error:
            refused.append(error)

    code = asyncio.run(run_until_signal(work, explained=EXPLAINED))
    if refused:
        raise refused[0]
    return code


async def serve(
    settings: ServiceSettings,
    parts: Parts,
    *,
    stop: Stop,
    tell: Callable[[str], object],
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Serve and conduct until `stop`: then requests end, conductors come to a boundary and give their leases back.

    Raises StoppedError, what `EXPLAINED` names, and an exception group of what failed later.
    """
    async with AsyncExitStack() as stack:
        async with stop.interrupts_start():
            make_folder(settings.state_dir)
            alone = None
            if parts.conductor and settings.sqlite_file is not None:
                alone = stack.enter_context(only_conductor(settings.sqlite_file))
            await check_tables(settings, migrates=parts.api and parts.conductor)
            sockets = _Sockets(settings, parts, environ, stack)
            url = settings.phone_home_url or f"https://{sockets.address(PHONE_HOME)}"
            service = await stack.enter_async_context(build(settings, parts, phone_home_url=url, alone=alone))
        tell(_greeting(settings, sockets))
        LOG.info("ready to work")
        await _until_end(settings, service, sockets, stop)


async def check_tables(settings: TableSettings, *, migrates: bool) -> None:
    """See whether the tables are those of this release; `migrates`: those of an SQLite file are made so.

    Raises UnfitError, which says what to run; MigrationError.
    """
    if migrates and settings.sqlite_file is not None:
        await migrate.upgrade(settings.database)
        return
    try:
        there = await migrate.current(settings.database)
        is_complete = settings.engine is not EngineName.PROCRASTINATE or await _has_jobs(settings.database)
    except procrastinate_schema.EngineSchemaError as error:
        raise UnfitError(str(error)) from error
    except _TROUBLE as error:
        raise UnfitError(f"the database does not tell which tables it has: {_words(error)}") from error
    if there != migrate.newest():
        seen = "there are no tables" if there is None else f"the tables have revision {there}"
        raise UnfitError(f"{seen} in the database, and this release works with revision {migrate.newest()}; {_ADVICE}")
    if not is_complete:
        raise UnfitError(f"the tables of the engine are not in the database, or older than this release; {_ADVICE}")


async def rewrap(settings: SealingSettings) -> Rewrapped:
    """Bring all stored secrets under the newest key. Raises UnfitError, KaasError."""
    problems: list[str] = []
    keyring = await read_keyring(settings, problems)
    if problems:
        raise UnfitError(*problems)
    await check_tables(settings, migrates=False)
    store = open_store(settings.database)
    try:
        async with open_keys(settings, keyring) as keys:
            return await rewrap_all(store.sealed, keys, keyring, seals_with_ring=not settings.vault_key)
    except StoreUnavailableError as error:
        raise UnfitError(f"{error}; what was rewrapped stays so, run it again") from error
    finally:
        await store.close()


async def migrate_tables(settings: TableSettings) -> str:
    """Bring the tables to this release, those of the engine too, and give their revision. Raises UnfitError."""
    try:
        await migrate.upgrade(settings.database)
        if settings.engine is EngineName.PROCRASTINATE:
            await procrastinate_schema.migrate(procrastinate_schema.conninfo_of(settings.database))
    except (migrate.MigrationError, procrastinate_schema.EngineSchemaError) as error:
        raise UnfitError(str(error)) from error
    except _TROUBLE as error:
        raise UnfitError(f"the database does not let itself be migrated: {_words(error)}") from error
    return migrate.newest() or ""


async def _has_jobs(url: str) -> bool:
    return await procrastinate_schema.check(procrastinate_schema.conninfo_of(url))


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:_MAX_SHOWN]


async def _until_end(settings: ServiceSettings, service: Service, sockets: "_Sockets", stop: Stop) -> None:
    no_requests, nobody_reports = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        if service.api is not None:
            tls = _api_tls(settings)
            group.create_task(Server(service.api, tls=tls).run_on(sockets[API], no_requests), name="API")
        if service.phone_home is not None and PHONE_HOME in sockets:
            reports = Server(service.phone_home, tls=server_files(settings.tls_dir))
            group.create_task(reports.run_on(sockets[PHONE_HOME], nobody_reports), name="phone home")
        if service.status is not None and _STATUS in sockets:
            group.create_task(Server(service.status).run_on(sockets[_STATUS], nobody_reports), name="status")
        conducting = None
        if service.conduct is not None:
            conducting = group.create_task(_until(service.conduct(stop)), name="conductor")
        await stop.wait()
        LOG.info("asked to end")
        no_requests.set()
        if conducting is not None:
            await asyncio.wait({conducting})
        nobody_reports.set()


async def _until(work: Awaitable[None]) -> None:
    await work


def _greeting(settings: ServiceSettings, sockets: "_Sockets") -> str:
    """Say where people or machines reach what was started."""
    if API in sockets:
        return f"API on {'http' if _api_tls(settings) is None else 'https'}://{sockets.address(API)}"
    return f"conducts; machines report to {settings.phone_home_url or f'https://{sockets.address(PHONE_HOME)}'}"


def _api_tls(settings: ServiceSettings) -> tuple[Path, Path] | None:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return settings.tls_cert_file, settings.tls_key_file


class _Sockets:
    """What a process listens on, by what it is for."""

    def __init__(
        self, settings: ServiceSettings, parts: Parts, environ: Mapping[str, str], stack: AsyncExitStack
    ) -> None:
        given = handed_over(environ, pid=os.getpid())
        wanted: dict[str, Place | None] = {}
        if parts.api:
            wanted[API] = settings.listen
        if parts.conductor:
            wanted[PHONE_HOME] = settings.phone_home_listen
            wanted[_STATUS] = None if parts.api else settings.status_listen
        self._sockets: dict[str, socket.socket] = {}
        for name, told in wanted.items():
            place = Descriptor(given[name]) if name in given else told
            if place is not None:
                self._sockets[name] = stack.enter_context(open_socket(place))

    def __contains__(self, name: str) -> bool:
        return name in self._sockets

    def __getitem__(self, name: str) -> socket.socket:
        return self._sockets[name]

    def address(self, name: str) -> str:
        """Give where one listens; empty when there is none."""
        return address_of(self._sockets[name]) if name in self._sockets else ""


async def problems_of(settings: ServiceSettings) -> list[str]:
    """Say what would stop a start, and what would not work after it."""
    try:
        inputs = await read_inputs(settings, serves=True)
    except UnfitError as error:
        return list(error.problems)
    problems: list[str] = []
    try:
        async with open_keys(settings, inputs.keyring) as keys:
            await keys.open(await keys.seal(b"check", context="check"), context="check")
    except KaasError as error:
        problems.append(error.message)
    if settings.sqlite_file is None or settings.sqlite_file.exists():
        try:
            await check_tables(settings, migrates=False)
        except UnfitError as error:
            problems += error.problems
    if settings.needs_platform:
        async with Client(settings.platform()) as platform:
            try:
                await platform.check(asyncio.get_running_loop().time() + _CHECK_S)
            except PlatformError as error:
                problems.append(f"the platform at {settings.platform_url}: {error}")
    return problems
