"""Folders with a small Debian in them, built once and kept in the user's cache.

Belongs here: the cache, debootstrap, what every such folder does without. Does not: what else goes into one.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.cache import cache_folder
from tests.support.tools import MissingToolError, find_program

SUITE = "bookworm"
_DROPPED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/cache/apt", "var/lib/apt/lists")


def cached(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """Give the folder that the cache keeps under a key; `build` fills a new one, which counts when it is complete."""
    cache = cache_folder() / kind
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / key
    with _only_builder(cache / "lock"):
        if not folder.is_dir():
            work = folder.with_suffix(".new")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            build(work)
            work.rename(folder)
    return folder


def bootstrap(tree: Path, packages: Sequence[str], what: str) -> None:
    """Put a minimal Debian with these packages into a new folder. Raises MissingToolError, one line."""
    if os.geteuid() != 0:
        raise MissingToolError(f"{what} has to be built once, and that needs root (debootstrap)")
    program = find_program("debootstrap")
    if program is None:
        raise MissingToolError(f"{what} has to be built once, and that needs the package debootstrap")
    run_to_build(what, program, "--variant=minbase", f"--include={','.join(packages)}", SUITE, str(tree))


def trim(tree: Path) -> None:
    """Remove what a machine that is only run does not need."""
    for name in _DROPPED:
        shutil.rmtree(tree / name, ignore_errors=True)


def run_to_build(what: str, *arguments: str) -> str:
    """Run a command that has to succeed; raises MissingToolError, one line that says what was being built."""
    environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise MissingToolError(f"building {what}: {Path(arguments[0]).name} ended with {done.returncode}: {said}")
    return done.stdout


@contextmanager
def _only_builder(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
