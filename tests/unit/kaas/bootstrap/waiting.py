"""Waiting for what another process does, which nobody signals; a test's own time limit ends it."""

import asyncio
from collections.abc import Callable


async def until(fact: Callable[[], object]) -> None:
    """Look until it is so."""
    while not fact():  # noqa: ASYNC110 - nobody could set an event
        await asyncio.sleep(0.005)
