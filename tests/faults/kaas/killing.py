"""Processes that conduct a scene and are killed with SIGKILL at a point of their work."""

import asyncio
import gc
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.faults.kaas.scenes import Scene
from tests.support.kaas_deaths import Watch, watched

Ends = Callable[[str], bool]
"""Tells whether a process ends at a point."""
_LIMIT_S = 60
ONE_BY_ONE, SIDE_BY_SIDE = 1, 16
"""Steps at once. One by one, every process passes every point in the same order."""


def never(point: str) -> bool:
    """Let a process come to its end."""
    return False


async def conduct(
    scene: Scene, passed: Callable[[str], None], *, owner: str = "one", parallel: int = ONE_BY_ONE
) -> None:
    """Bring the operation of a scene to its end; `passed` is told every point on the way."""
    watch = Watch(passed)
    async with scene.rig() as rig:
        rig.tools = watched(rig, watch)
        await rig.settle(scene.cluster_id, rig.conductor(owner, faults=watch, parallel=parallel))


def killed_at(scene: Scene, ends: Ends, *, parallel: int = ONE_BY_ONE) -> tuple[str, list[str]]:
    """Let a process of its own conduct until a point at which it ends; gives that, or "", and all it passed before."""
    report = scene.folder / "points"
    report.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _be_the_process(scene, ends, report, parallel)
    _, status = os.waitpid(child, 0)
    passed = report.read_text().splitlines()
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        scene.let_the_lease_run_out()
        return passed[-1], passed
    assert status == 0, (scene.folder / "error").read_text() if (scene.folder / "error").exists() else status
    return "", passed


def _be_the_process(scene: Scene, ends: Ends, report: Path, parallel: int) -> None:
    code = 1
    try:
        # What the parent has is not looked at again, which would copy it.
        gc.disable()
        signal.alarm(_LIMIT_S)
        told = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

        def passed(point: str) -> None:
            os.write(told, f"{point}\n".encode())
            if ends(point):
                os.kill(os.getpid(), signal.SIGKILL)

        asyncio.run(conduct(scene, passed, owner=f"process-{os.getpid()}", parallel=parallel))
        code = 0
    except BaseException:
        (scene.folder / "error").write_text(traceback.format_exc())
        raise
    finally:
        os._exit(code)
