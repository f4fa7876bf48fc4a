"""What the program `kaas` can be told. The dataclasses are the table of flags, variables and the reference.

Does not belong here: reading (`process.settings`), and the files that options name (`kaas.inputs`).
"""
# ruff: noqa: RUF009 - the calls in the dataclasses declare fields

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from kaas.db.session import DRIVERS, POSTGRESQL, SQLITE, parse_url
from kaas.domain.policy import Role
from kaas.option_kinds import FILE, PAIRS, TENANT, USER_ID, Pairs
from kaas.options import (
    AddonOptions,
    Authentication,
    ClusterOptions,
    ConductorOptions,
    PlatformOptions,
    ServingOptions,
    VaultOptions,
)
from process.kinds import LOG_FORMAT, LOG_LEVEL, TEXT, choice
from process.logs import LogFormat, LogLevel
from process.settings import option


class EngineName(Enum):
    """How conductors are woken."""

    INPROCESS = "inprocess"
    PROCRASTINATE = "procrastinate"


@dataclass(frozen=True, kw_only=True)
class StateOptions:
    """What every command has."""

    state_dir: Path = option(
        FILE,
        "Folder of all files that are not named otherwise, made with mode 0700; for a service /var/lib/kaas.",
        default=Path("kaas-state"),
    )
    log_level: LogLevel = option(LOG_LEVEL, "Least level that is logged.", default=LogLevel.INFO)
    log_format: LogFormat = option(LOG_FORMAT, "Form of a log line.", default=LogFormat.TEXT)

    def state(self, name: str) -> Path:
        """Give the path of a file in the folder."""
        return self.state_dir.absolute() / name


@dataclass(frozen=True, kw_only=True)
class KeyRingSettings(StateOptions):
    """`kaas keyring`."""

    keyring_file: Path | None = option(
        FILE,
        "Keys that secrets are sealed with at rest; default keyring.json in --state-dir, unless --vault-key is given. "
        "Keep a copy apart from the database's.",
    )

    @property
    def keyring(self) -> Path:
        """Where the key ring is."""
        return self.keyring_file or self.state("keyring.json")


@dataclass(frozen=True, kw_only=True)
class UsersOptions(StateOptions):
    """Where users are written down."""

    users_file: Path | None = option(
        FILE, "Who has which API key, in which tenants; default users.yaml in --state-dir. For --authentication users."
    )

    @property
    def users(self) -> Path:
        """Where the users are."""
        return self.users_file or self.state("users.yaml")


@dataclass(frozen=True, kw_only=True)
class UserSettings(UsersOptions):
    """`kaas user add`."""

    user: str = option(USER_ID, "Name of the user.", default="admin")
    tenant: str = option(TENANT, "Tenant that they work in.", default="default")
    role: Role = option(choice("role", Role), "What they may do there: reader, member or admin.", default=Role.ADMIN)


@dataclass(frozen=True, kw_only=True)
class TableSettings(StateOptions):
    """`kaas migrate`."""

    database_url: str = option(
        TEXT,
        "Database: postgresql+psycopg://…, mysql+aiomysql://… or sqlite+aiosqlite:////path; default kaas.db in "
        "--state-dir.",
        default="",
        secret=True,
    )
    engine: EngineName = option(
        choice("engine", EngineName),
        "How conductors are woken: inprocess for one of them, procrastinate (PostgreSQL) for any number.",
        default=EngineName.INPROCESS,
    )

    @property
    def database(self) -> str:
        """The address of the database."""
        return self.database_url or f"{DRIVERS[SQLITE]}:///{self.state('kaas.db')}"

    @property
    def sqlite_file(self) -> Path | None:
        """The file of an SQLite database; None for another one."""
        url = parse_url(self.database)
        return Path(url.database or "") if url.drivername == DRIVERS[SQLITE] else None

    def problems(self) -> Sequence[str]:
        """Say what does not go together."""
        try:
            url = parse_url(self.database)
        except ValueError as error:
            return [f"TC_DATABASE_URL: {error}"]
        if self.engine is EngineName.PROCRASTINATE and url.drivername != DRIVERS[POSTGRESQL]:
            return [f"--engine procrastinate needs a PostgreSQL database: TC_DATABASE_URL={DRIVERS[POSTGRESQL]}://…"]
        return []


@dataclass(frozen=True, kw_only=True)
class ConductorSettings(TableSettings):
    """`kaas conductors disable` and `enable`."""

    conductor: str = option(TEXT, "Id of the conductor, as `kaas conductors list` shows it.", required=True)
    reason: str = option(TEXT, "Why it is disabled, for those who see it in the list.", default="")


@dataclass(frozen=True, kw_only=True)
class QuotaSettings(TableSettings):
    """`kaas quota`."""

    tenant: str = option(TENANT, "Tenant whose limits are meant.", default="default")
    limits: Pairs = option(
        PAIRS, "Limits to set: clusters=5,nodes=50,vcpus=100,memory_mb=204800; `none` takes one away.", default=()
    )


@dataclass(frozen=True, kw_only=True)
class SealingSettings(KeyRingSettings, TableSettings, VaultOptions):
    """`kaas keyring rewrap`."""

    def problems(self) -> Sequence[str]:
        """Say what does not go together."""
        return [*super().problems(), *self.vault_problems()]


@dataclass(frozen=True, kw_only=True)
class ServiceSettings(
    SealingSettings,
    UsersOptions,
    ServingOptions,
    PlatformOptions,
    ClusterOptions,
    AddonOptions,
    ConductorOptions,
):
    """`kaas serve`, `kaas api`, `kaas conductor` and `kaas config check`."""

    @property
    def tls_dir(self) -> Path:
        """Where the phone-home listener's certificate is."""
        return self.phone_home_tls_dir or self.state("tls")

    @property
    def needs_platform(self) -> bool:
        """Whether anything asks the platform."""
        return not self.is_simulated or self.authentication is Authentication.PLATFORM

    def problems(self) -> Sequence[str]:
        """Say everything that does not go together."""
        found = [*super().problems(), *self.serving_problems(), *self.addon_problems()]
        if self.needs_platform:
            found += self.platform_problems()
        if not self.is_simulated and not self.phone_home_url:
            found.append("--phone-home-url is missing: machines have to reach the listener; give its https:// address")
        if not self.is_simulated and self.catalogue_file is None:
            found.append(
                "--catalogue-file is missing: it says which versions are offered, and in which images they are"
            )
        return found
