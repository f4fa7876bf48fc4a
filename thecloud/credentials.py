"""Where the API key comes from. The key itself appears in no message and in no repr.

Belongs here: reading the key. Does not belong here: sending it.
"""

import asyncio
from pathlib import Path
from typing import Protocol

from thecloud.errors import KeyUnusable
from thecloud.settings import MAX_KEY_BYTES, PlatformSettings, key_problem

_Mark = tuple[int, int, int, int]


class KeySource(Protocol):
    """Gives the API key for the next request."""

    async def read(self) -> str:
        """Give the key; raises KeyUnusable when there is none."""
        ...


class FixedKey:
    """A key that was given once."""

    def __init__(self, key: str) -> None:
        self._key = _checked(key, "the API key that was given")

    async def read(self) -> str:
        """Give the key."""
        return self._key


class KeyFile:
    """A key in a file, read again whenever the file changes: keys are exchanged while programs run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark: _Mark | None = None
        self._key = ""

    async def read(self) -> str:
        """Give the key that is in the file now; raises KeyUnusable, naming the file, when there is none."""
        try:
            # Asked before reading, so that a change in between is seen the next time.
            mark = self._mark_of_file()
            if mark != self._mark:
                text = await asyncio.to_thread(self._read_file)
                self._key = _checked(text, f"the API key file {self._path}")
                self._mark = mark
        except OSError as error:
            raise KeyUnusable(f"the API key file {self._path} cannot be read: {error.strerror or error}") from error
        return self._key

    def _mark_of_file(self) -> _Mark:
        stat = self._path.stat()
        return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def _read_file(self) -> str:
        with self._path.open("rb") as file:
            return file.read(MAX_KEY_BYTES + 1).decode("utf-8", "replace")


def key_source(settings: PlatformSettings) -> KeySource:
    """Give the source that the settings name."""
    if settings.api_key_file is not None:
        return KeyFile(settings.api_key_file)
    return FixedKey(settings.api_key)


def _checked(text: str, where: str) -> str:
    if problem := key_problem(text):
        raise KeyUnusable(f"{where} {problem}")
    return text.strip()
