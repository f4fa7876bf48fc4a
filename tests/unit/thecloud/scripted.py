"""A platform at the HTTP boundary that answers as scripted and remembers what it was asked."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from thecloud.client import Client
from thecloud.lean_httpx import httpx
from thecloud.settings import PlatformSettings

KEY = "thecloud_0123456789abcdef0123456789abcdef"
VOLUME_ID = "4f1c2d3e-0000-4000-8000-000000000001"
OTHER_ID = "4f1c2d3e-0000-4000-8000-000000000002"
INSTANCE_ID = "4f1c2d3e-0000-4000-8000-0000000000aa"
ALL_FEATURES = (
    "errors.precise",
    "volume.idempotency-key",
    "volume.tags",
    "volume.filter",
    "volume.serial",
    "volume.allocated",
    "volume.resize",
    "volume.clone",
    "volume.attach-wait",
    "volume.read-only",
    "volume.modify",
    "volume.capacity",
    "volume.health",
    "snapshot.restore",
    "snapshot.group",
    "instance.zone",
    "instance.hostname",
    "instance.max-volumes",
    "instance.filter",
    "events.stream",
)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, or an exception below HTTP, after a pause."""

    status: int = 200
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None
    pause_s: float = 0.0


def ok(data: Any = None, status: int = 200) -> Reply:
    return Reply(status, json.dumps({"data": data, "meta": {"request_id": "r-ok"}}).encode())


def failure(status: int, kind: str, message: str = "no", **details: str) -> Reply:
    error: dict[str, Any] = {"type": kind, "code": kind, "message": message}
    if details:
        error["details"] = details
    return Reply(status, json.dumps({"error": error, "meta": {"request_id": "r-err"}}).encode())


def raw_500() -> Reply:
    return failure(500, "INTERNAL", "An unexpected error occurred")


def too_many(**headers: str) -> Reply:
    return Reply(429, b'{"error":"rate limit exceeded"}', headers)


def plain_404() -> Reply:
    return Reply(404, b"404 page not found")


def broken(error: Exception) -> Reply:
    return Reply(error=error)


def volume(**fields: Any) -> dict[str, Any]:
    return {"id": VOLUME_ID, "name": "pv-1", "size_gb": 1, "status": "AVAILABLE"} | fields


class Platform:
    """Answers a route with its scripted replies in order; the last one stays."""

    def __init__(self, *, features: tuple[str, ...] | None = ()) -> None:
        self.requests: list[httpx.Request] = []
        self.begun_at: list[float] = []
        self._replies: dict[tuple[str, str], list[Reply | Callable[[httpx.Request], Reply]]] = {}
        self._discovery = {"/capabilities"}
        if features is None:
            self.on("GET", "/capabilities", plain_404()).on("GET", "/instance-types", ok([]))
            self._discovery.add("/instance-types")
        else:
            self.on("GET", "/capabilities", ok({"tier": "extended", "features": list(features)}))

    def on(self, method: str, path: str, *replies: Reply | Callable[[httpx.Request], Reply]) -> "Platform":
        self._replies[(method, path)] = list(replies)
        return self

    def asked(self, method: str | None = None, path: str | None = None) -> list[httpx.Request]:
        """Give the requests, without the discovery unless asked for."""
        return [
            request
            for request in self.requests
            if method in (None, request.method)
            and (request.url.path == path if path is not None else request.url.path not in self._discovery)
        ]

    def calls(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.asked()]

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.begun_at.append(asyncio.get_running_loop().time())
        replies = self._replies.get((request.method, request.url.path))
        if not replies:
            return httpx.Response(404, text="404 page not found")
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if not isinstance(reply, Reply):
            reply = reply(request)
        if reply.pause_s:
            await asyncio.sleep(reply.pause_s)
        if reply.error is not None:
            raise reply.error
        return httpx.Response(reply.status, content=reply.content, headers=reply.headers)

    def client(self, **settings: Any) -> Client:
        """Give a client whose pauses have no jitter."""
        wiring = {name: settings.pop(name) for name in ("observer", "request_id", "jitter") if name in settings}
        return Client(
            PlatformSettings(**({"base_url": "http://platform.test", "api_key": KEY} | settings)),
            transport=httpx.MockTransport(self.answer),
            **({"jitter": lambda: 0.0} | wiring),
        )


def soon(seconds: float = 30.0) -> float:
    return asyncio.get_running_loop().time() + seconds
