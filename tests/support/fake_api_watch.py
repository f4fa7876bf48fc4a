"""A watch of the fake Kubernetes API: history, bookmarks, streamed lists, and its end."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.support.fake_api_objects import RefusalError, Resource

if TYPE_CHECKING:
    from tests.support.fake_api import FakeApi

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class Watch:
    """One stream. Raises RefusalError for a request that the real server refuses."""

    def __init__(self, api: "FakeApi", resource: Resource, namespace: str, query: Mapping[str, str]) -> None:
        self.resource = resource
        self._api = api
        self._namespace = namespace
        self._wants_bookmarks = query.get("allowWatchBookmarks") in ("1", "true")
        self._limit_s = float(query.get("timeoutSeconds", "1800"))
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._is_frozen = False
        self._is_cut = False
        self._sent = 0
        self._check(query)

    def _check(self, query: Mapping[str, str]) -> None:
        version = query.get("resourceVersion", "")
        self._streams_list = query.get("sendInitialEvents") == "true"
        if self._streams_list and not self._api.has_watch_list:
            text = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            raise RefusalError(
                422, "Invalid", f"ListOptions.meta.k8s.io is invalid: sendInitialEvents: Forbidden: {text}"
            )
        if self._streams_list and not (query.get("resourceVersionMatch") == "NotOlderThan" and self._wants_bookmarks):
            text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan, and bookmarks"
            raise RefusalError(422, "Invalid", f"ListOptions.meta.k8s.io is invalid: {text}")
        if not self._streams_list and "resourceVersionMatch" in query:
            raise RefusalError(
                422, "Invalid", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is set"
            )
        self._api.check_version(version)
        self._starts_with_all = self._streams_list or version in ("", "0")
        self._sent = self._api.objects.version if self._starts_with_all else int(version)

    def _follow(self) -> None:
        if self._starts_with_all:
            for found in self._api.objects.all_of(self.resource.plural, self._namespace):
                self._put("ADDED", found)
            if self._streams_list:
                self._bookmark({INITIAL_EVENTS_END: "true"})
        elif self._sent < self._api.objects.compacted:
            # A real server that has begun to stream says it in the stream.
            text = f"too old resource version: {self._sent} ({self._api.objects.compacted})"
            self._put("ERROR", RefusalError(410, "Expired", text).body)
            self._lines.put_nowait(None)
            return
        self._catch_up()

    def _catch_up(self) -> None:
        """Send what has happened since the last line."""
        for change in self._api.objects.since(self._sent, self.resource.plural, self._namespace):
            self._put(change.type, change.found)
        self._sent = self._api.objects.version

    def _put(self, kind: str, found: Any) -> None:
        self._lines.put_nowait(json.dumps({"type": kind, "object": found}).encode() + b"\n")

    def _bookmark(self, annotations: Mapping[str, str] | None = None) -> None:
        meta: dict[str, Any] = {"resourceVersion": str(self._sent), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        mark = {"kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": meta}
        self._put("BOOKMARK", mark)

    # What tests do with it

    def send(self, line: bytes) -> None:
        """Put a line into the stream as it is."""
        self._lines.put_nowait(line + b"\n")

    def end(self) -> None:
        """End it properly."""
        self._is_frozen = False
        self._lines.put_nowait(None)

    def cut(self) -> None:
        """End its connection."""
        self._is_cut = True
        self._lines.put_nowait(None)

    def freeze(self) -> None:
        """Send nothing any more, and stay open."""
        self._is_frozen = True

    # Serving

    async def serve(self, http: web.Request) -> web.StreamResponse:
        """Stream until the time limit, the test or the client ends it."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        self._api.objects.listeners.append(self._catch_up)
        self._api.watches.append(self)
        try:
            self._follow()
            await response.prepare(http)
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(self._limit_s):
                    await self._stream(response)
        finally:
            self._api.watches.remove(self)
            self._api.objects.listeners.remove(self._catch_up)
        if self._is_cut and http.transport is not None:
            http.transport.abort()
        return response

    async def _stream(self, response: web.StreamResponse) -> None:
        while True:
            try:
                async with asyncio.timeout(self._api.bookmark_every_s):
                    line = await self._lines.get()
            except TimeoutError:
                if self._wants_bookmarks:
                    self._bookmark()
                continue
            if line is None:
                return
            if not self._is_frozen:
                await response.write(line)
