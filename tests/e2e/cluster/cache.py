"""Artefacts that are made once, kept in a folder outside the tree and found there by everybody afterwards.

An artefact is a folder. Its key is a digest of everything that decides its content, so a change of an input gives
another folder and what is there is never out of date. It is made beside its place and renamed into it, under a lock:
a maker that is killed leaves nothing that looks finished, and two of them do not make the same thing.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster.commands import run
from tests.e2e.cluster.errors import AssetError

Make = Callable[[Path], Awaitable[None]]
"""Fills the empty folder that it is given."""
Report = Callable[[str], None]
"""Takes one line for the person who waits."""

_LOCK_LOOK_S = 0.2
_SYNC_S = 300.0


@dataclass(frozen=True, slots=True)
class Artefact:
    """What one folder of the cache is called: `<kind>/<name>-<key>`."""

    kind: str
    name: str
    key: str

    @property
    def label(self) -> str:
        """The name of its folder."""
        return f"{self.name}-{self.key}"


def digest(*parts: str | bytes) -> str:
    """Give the key for these inputs, in this order."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        total.update(f"{len(content)}:".encode() + content)
    return total.hexdigest()[:12]


def digest_of_files(files: Iterable[Path], *, below: Path) -> str:
    """Give the key for names (relative to `below`) and content of files."""
    return digest(*(part for file in sorted(files) for part in (str(file.relative_to(below)), file.read_bytes())))


class Cache:
    """The artefacts below one folder."""

    def __init__(
        self,
        folder: Path,
        *,
        report: Report = lambda _: None,
        wait_s: float = 5400.0,
        proc: Path = Path("/proc"),
    ) -> None:
        """`wait_s` bounds the wait for another process that makes the same artefact.

        `proc` tells what is mounted, in the view of every process.
        """
        self.folder = folder
        self._report = report
        self._wait_s = wait_s
        self._proc = proc
        self._used: set[Path] = set()

    def path(self, artefact: Artefact) -> Path:
        """Give the folder of an artefact, whether it is there or not."""
        return self.folder / artefact.kind / artefact.label

    async def obtain(self, artefact: Artefact, make: Make) -> Path:
        """Give the folder of an artefact, making it first where it is not there. Raises AssetError.

        What `make` raises comes through, and nothing of its work stays.
        """
        target = self.path(artefact)
        self._used.add(target)
        if target.is_dir():
            _mark_used(target)
            self._report(f"found   {artefact.kind}/{artefact.label}")
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        async with self._only_maker(target):
            if not target.is_dir():
                started_at = time.perf_counter()
                self._report(f"making  {artefact.kind}/{artefact.label}")
                await self._make(target, make)
                _mark_used(target)
                self._report(f"made    {artefact.kind}/{artefact.label} in {time.perf_counter() - started_at:.1f} s")
        return target

    async def prune(self, *, unused_s: float) -> list[Path]:
        """Remove the artefacts of other keys that nobody obtained for so long and that nothing is mounted from.

        Other checkouts of this project share the cache and may want other keys, so a key that is not ours is no reason
        to remove anything. Gives what was removed; raises AssetError.
        """
        mounted = self._read_mounts()
        removed = []
        for kind in sorted({path.parent for path in self._used}):
            for path in sorted(kind.iterdir()):
                named = path.is_dir() and not path.name.startswith(".") and path not in self._used
                if named and _unused_s(path) > unused_s and not is_mounted_from(path, mounted):
                    async with self._only_maker(path):
                        await self._remove(path)
                    removed.append(path)
        return removed

    async def _make(self, target: Path, make: Make) -> None:
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        for left in target.parent.glob(f".{target.name}.*"):
            if left.is_dir():
                await self._remove(left)
        fresh.mkdir()
        try:
            await make(fresh)
            # After a power cut the name must not stand for files without their content.
            await run(("sync", "--file-system", fresh), timeout_s=_SYNC_S)
            fresh.rename(target)
        except BaseException:
            await self._remove(fresh)
            raise

    @contextlib.asynccontextmanager
    async def _only_maker(self, target: Path) -> AsyncIterator[None]:
        deadline = asyncio.get_running_loop().time() + self._wait_s
        lock = _lock_of(target)
        told = False
        with lock.open("a") as file:
            while not _locked(file.fileno()):
                if not told:
                    self._report(f"waiting for another process that makes {target.parent.name}/{target.name}")
                    told = True
                if asyncio.get_running_loop().time() >= deadline:
                    raise AssetError(
                        f"another process has been making {target} for more than {self._wait_s:.0f} s; "
                        f"look who holds {lock} (fuser) and start again when it has ended"
                    )
                await asyncio.sleep(_LOCK_LOOK_S)
            yield

    async def _remove(self, folder: Path) -> None:
        """Remove a folder of the cache; raises AssetError where something is mounted below it.

        Removing through a mount would remove what belongs to somebody else.
        """
        if is_mounted_from(folder, self._read_mounts()):
            raise AssetError(f"{folder} cannot be removed: something is mounted there or from there; unmount it first")
        removing = asyncio.ensure_future(asyncio.to_thread(shutil.rmtree, folder))
        try:
            await asyncio.shield(removing)
        except asyncio.CancelledError:
            await asyncio.wait((removing,))
            raise

    def _read_mounts(self) -> set[str]:
        """Give the lines of all mount tables: a machine's mounts may be in a name space of their own."""
        lines: set[str] = set()
        for table in self._proc.glob("[0-9]*/mountinfo"):
            # A process may end meanwhile.
            with contextlib.suppress(OSError):
                lines.update(table.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
        return lines


def is_mounted_from(folder: Path, mounts: Iterable[str]) -> bool:
    """Tell whether lines of mountinfo name a mount at or below a folder, or one whose layers are there."""
    path = re.escape(str(folder).replace(" ", "\\040"))
    named = re.compile(rf"(?:^|[\s=:,]){path}(?:$|[\s=:,/])")
    return any(named.search(line) for line in mounts)


def _lock_of(target: Path) -> Path:
    """Give the file that is locked while an artefact is made; its time says when it was last obtained."""
    return target.with_name(f".{target.name}.lock")


def _mark_used(target: Path) -> None:
    # Others may find what only its owner may mark.
    with contextlib.suppress(PermissionError):
        _lock_of(target).touch()


def _unused_s(target: Path) -> float:
    lock = _lock_of(target)
    return time.time() - lock.stat().st_mtime if lock.exists() else float("inf")


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
