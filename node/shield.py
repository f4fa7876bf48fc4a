"""Work that is brought to its end although the caller is being cancelled.

Only what leaves the host in a half-done state when it is cut off belongs under it: undoing a stage, writing a record.
Always with a limit, so that a dead disk cannot hold a cancelled call for ever.
"""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar

from csi.errors import CsiError, ErrorKind

_LOG = logging.getLogger(__name__)

THREAD_LIMIT_S = 30.0

T = TypeVar("T")


async def finish(work: Awaitable[T], *, limit_s: float) -> T:
    """Run `work` to its end, at most `limit_s` seconds; a cancellation that arrives meanwhile is raised afterwards.

    Raises TimeoutError when the limit passed (the work is cancelled then), and what the work raises.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + limit_s
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done() and loop.time() < until:
        try:
            await asyncio.wait({task}, timeout=until - loop.time())
        except asyncio.CancelledError as error:
            cancelled = error
    if not task.done():
        task.cancel()
        raise cancelled or TimeoutError(f"not finished within {limit_s} s")
    if cancelled is not None:
        # The caller is gone; a failure of the work has nobody left to act on it, but must not be lost unseen.
        if not task.cancelled() and task.exception() is not None:
            raise cancelled from task.exception()
        raise cancelled
    return task.result()


async def give_up(undo: Coroutine[Any, Any, None], *, after: BaseException, what: str, limit_s: float) -> None:
    """Undo work that failed with `after`; the caller raises that again when this returns.

    A caller takes most errors as "nothing was done". So when the undoing fails too, this raises CsiError
    UNKNOWN_OUTCOME with both texts; for a cancelled call, which answers nobody, it is logged.
    """
    try:
        await finish(undo, limit_s=limit_s)
    except (CsiError, OSError, TimeoutError) as problem:
        _LOG.error("%s: what failed (%s) could not be undone: %s", what, after, problem)
        if isinstance(after, Exception):
            first, second = str(after).rstrip("."), str(problem).rstrip(".")
            text = f"{first}. Undoing it failed too: {second}. The next call tries again."
            raise CsiError(ErrorKind.UNKNOWN_OUTCOME, text) from after


async def in_thread(function: Callable[[], T], *, executor: Executor | None = None) -> T:
    """Run a blocking function in a thread and wait for its end, a cancellation notwithstanding.

    A thread cannot be stopped: if the caller went on, the function would act behind the back of its clean-up.
    `executor`: whose threads; the event loop's own are shared with calls that may hang on dead disks.
    """
    context = contextvars.copy_context()
    work = asyncio.get_running_loop().run_in_executor(executor, lambda: context.run(function))
    return await finish(work, limit_s=THREAD_LIMIT_S)
