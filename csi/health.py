"""A small HTTP/1.1 server for health checks and metrics.

It answers GET and HEAD of a handful of fixed paths, one request per connection, and nothing else; there is no need of a
framework for that, and none of its memory. Input is bounded in size, time and number of connections.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from csi.endpoint import EndpointError
from process.address import TcpEndpoint

LOG = logging.getLogger("csi.health")

MAX_HEAD_BYTES = 8 * 1024
MAX_CONNECTIONS = 32
REQUEST_LIMIT_S = 5.0
"""Time for a client to send its request."""
ANSWER_LIMIT_S = 10.0
"""Time to make and send the answer."""
_TEXT = "text/plain; charset=utf-8"
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error"}
_REASONS |= {503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status with its text."""

    status: int
    body: bytes = b""
    content_type: str = _TEXT


Page = Callable[[], Awaitable[Answer]]


class HealthServer:
    """Serves pages by path as an async context manager; `address` has the real port once entered."""

    def __init__(self, address: TcpEndpoint, pages: Mapping[str, Page]) -> None:
        self.address = address
        self._pages = dict(pages)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen. Raises EndpointError when the port cannot be had."""
        try:
            self._server = await asyncio.start_server(
                self._accept, self.address.host, self.address.port, limit=MAX_HEAD_BYTES
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise EndpointError(f"http-endpoint {self.address.authority}: cannot listen there: {reason}") from error
        port = self._server.sockets[0].getsockname()[1]
        self.address = TcpEndpoint(self.address.host, port)
        LOG.info("health and metrics", extra={"fields": {"http_endpoint": self.address.authority}})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the port and end what is still open."""
        if self._server is not None:
            self._server.close()
            for task in self._connections:
                task.cancel()
            if self._connections:
                await asyncio.wait(self._connections)
            await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer), name="health connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            try:
                async with asyncio.timeout(REQUEST_LIMIT_S):
                    head = await _read_head(reader)
                if head is not None:
                    async with asyncio.timeout(ANSWER_LIMIT_S):
                        await self._answer(head, writer)
            finally:
                writer.close()
            async with asyncio.timeout(REQUEST_LIMIT_S):
                await writer.wait_closed()

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        method, path = _parse_head(head)
        answer = await self._page(method, path)
        body = b"" if method == "HEAD" else answer.body
        writer.write(_headers(answer) + body)
        await writer.drain()

    async def _page(self, method: str, path: str) -> Answer:
        if not method:
            return Answer(400, b"this is no HTTP/1 request\n")
        page = self._pages.get(path)
        if page is None:
            return Answer(404, ("known: " + " ".join(sorted(self._pages)) + "\n").encode())
        if method not in {"GET", "HEAD"}:
            return Answer(405, b"GET or HEAD only\n")
        try:
            return await page()
        except TimeoutError:
            return Answer(503, b"no answer in time\n")
        except Exception:
            # The edge of the process: a page that fails must not end the connection without an answer.
            LOG.exception("a page failed", extra={"fields": {"path": path}})
            return Answer(500, b"failed; the log has the error\n")


async def _read_head(reader: asyncio.StreamReader) -> bytes | None:
    """Read up to the empty line; None when the client left, empty when the head is too long."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return b""
    except asyncio.IncompleteReadError as error:
        return b"" if error.partial else None


def _parse_head(head: bytes) -> tuple[str, str]:
    """Give method and path; two empty texts for anything that is no plain request line."""
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or not words[1].startswith(b"/"):  # noqa: PLR2004
        return "", ""
    if not words[0].isalpha() or not words[0].isascii() or not words[1].isascii():
        return "", ""
    return words[0].decode("ascii"), words[1].decode("ascii").partition("?")[0]


def _headers(answer: Answer) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
