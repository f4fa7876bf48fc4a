"""Lines of a stream that does not end, whatever their length."""

from collections.abc import Sequence
from typing import Protocol

from ccm.kube.errors import Unreachable

LONGEST_LINE_BYTES = 64 << 20
"""An object may have 1.5 MiB in etcd and more in JSON; beyond this the stream is no watch."""


class Source(Protocol):
    """Where bytes come from."""

    async def read(self) -> bytes:
        """Give what has arrived; empty at the proper end. Raises Unreachable."""
        ...


class LineReader:
    """Cuts a stream into lines. Unlike aiohttp's own it has no limit near the size of large objects."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._started: list[bytes] = []
        self._started_bytes = 0

    async def read(self) -> Sequence[bytes]:
        """Give the lines that are complete, at least one; none at the end. Raises Unreachable."""
        while True:
            chunk = await self._source.read()
            if not chunk:
                if self._started_bytes:
                    raise Unreachable("the stream ended within a line")
                return ()
            first, separator, rest = chunk.partition(b"\n")
            self._started.append(first)
            self._started_bytes += len(first)
            if self._started_bytes > LONGEST_LINE_BYTES:
                raise Unreachable(f"a line of the stream is longer than {LONGEST_LINE_BYTES} bytes")
            if separator:
                *lines, last = [b"".join(self._started), *rest.split(b"\n")]
                self._started, self._started_bytes = [last] if last else [], len(last)
                if complete := [line for line in lines if line]:
                    return complete
