"""Published programs, each built once from its Go module into the user's cache and found there afterwards."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from tests.support.cache import cache_folder

_GO = Path(__file__).parents[2] / "scripts" / "go"
_BUILD_ARGS = ("build", "-trimpath", "-ldflags", "-s -w")


class NoGoError(Exception):
    """There is no Go toolchain, and none can be installed; the text says what was tried."""


@dataclass(frozen=True, slots=True)
class GoTool:
    """A program: `package` of the module that `folder`'s go.mod and go.sum pin in `version`."""

    name: str
    version: str
    package: str
    folder: Path

    @property
    def path(self) -> Path:
        """Where the program is in the cache, built or not."""
        return cache_folder() / "bin" / f"{self.name}-{self.version}"


async def obtain(tool: GoTool) -> Path:
    """Give the path of a program, building it where the cache does not have it.

    Raises NoGoError where that needs a toolchain and there is none, RuntimeError with the build's words when it fails.
    """
    if tool.path.exists():
        return tool.path
    code, output = await _go("version", folder=tool.folder)
    if code:
        raise NoGoError(f"{tool.name} {tool.version} is not in {tool.path.parent} and cannot be built: {output}")
    tool.path.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place and renamed into it, so that what is there is complete.
    fresh = tool.path.with_name(f".{tool.path.name}.{os.getpid()}")
    code, output = await _go(*_BUILD_ARGS, "-o", str(fresh), tool.package, folder=tool.folder)
    if code:
        fresh.unlink(missing_ok=True)
        raise RuntimeError(f"building {tool.name} {tool.version} failed:\n{output}")
    fresh.replace(tool.path)
    return tool.path


async def _go(*argv: str, folder: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        str(_GO),
        *argv,
        cwd=folder,
        env={**os.environ, "CGO_ENABLED": "0"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")
