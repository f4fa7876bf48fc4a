"""The published csi-sanity, built from its Go module into the user's cache."""

import asyncio
import os
from pathlib import Path

VERSION = "5.6.0"
_PACKAGE = "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"
_HERE = Path(__file__).parent


async def build() -> Path:
    """Give the path of csi-sanity, building it where the cache does not have it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thecloud-kubernetes" / "bin"
    binary = cache / f"csi-sanity-{VERSION}"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = cache / f".{binary.name}.{os.getpid()}"
        argv = (str(_HERE.parents[1] / "scripts" / "go"), "build", "-trimpath", "-ldflags", "-s -w", "-o", str(fresh))
        process = await asyncio.create_subprocess_exec(
            *argv,
            _PACKAGE,
            cwd=_HERE / "tool",
            env={**os.environ, "CGO_ENABLED": "0"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"building csi-sanity {VERSION} failed:\n{output.decode()}")
        fresh.replace(binary)
    return binary
