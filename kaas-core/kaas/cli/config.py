"""Where the service is and who we are: options, then the environment, then a file that only its owner may read.

api_url: https://kaas.example.org
api_key: thecloud_…
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kaas.cli.errors import CliError, ExitCode

DEFAULT_URL = "http://localhost:8086"
CONFIG_VARIABLE = "CLOUD_CONFIG"
_MAX_BYTES = 64 * 1024


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    api_url: str = ""
    api_key: str = ""


@dataclass(frozen=True, slots=True)
class Where:
    """The service, and the key to it."""

    url: str
    key: str


def config_path(environ: Mapping[str, str]) -> Path:
    """Give the path of the configuration file."""
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or "/") / ".config")
    return Path(base) / "thecloud" / "cli.yaml"


def find(url: str, key: str, environ: Mapping[str, str]) -> Where:
    """Fill in from the file what was not given otherwise. Raises CliError (usage)."""
    path = config_path(environ)
    file = _File() if url and key else _read(path, must_exist=CONFIG_VARIABLE in environ)
    key = key or file.api_key
    if not key:
        raise CliError(
            f"no API key: set CLOUD_API_KEY, give -k/--api-key, or write `api_key: …` to {path} (chmod 0600)",
            exit_code=ExitCode.USAGE,
        )
    if not (key.isascii() and key.isprintable()):
        raise CliError("the API key has characters that no key has", exit_code=ExitCode.USAGE)
    return Where(url or file.api_url or DEFAULT_URL, key)


def _read(path: Path, *, must_exist: bool) -> _File:
    try:
        with path.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            content = opened.read(_MAX_BYTES)
        file = msgspec.yaml.decode(content, type=_File | None) or _File()
    except FileNotFoundError:
        if must_exist:
            raise CliError(f"{CONFIG_VARIABLE} names {path}, which is not there", exit_code=ExitCode.USAGE) from None
        return _File()
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror}", exit_code=ExitCode.USAGE) from error
    except msgspec.MsgspecError as error:
        raise CliError(f"{path} is no configuration: {error}", exit_code=ExitCode.USAGE) from error
    if file.api_key and mode & 0o077:
        raise CliError(
            f"{path} has an API key in it and can be read by others (mode {mode:04o}); chmod 0600 it",
            exit_code=ExitCode.USAGE,
        )
    return file
