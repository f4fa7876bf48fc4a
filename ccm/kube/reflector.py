"""Keeps a store equal to what the API server has: lists once, then watches, and starts again where that breaks.

After the behaviour of client-go's reflector, with what its users ask for: no loop without a pause, whatever the server
answers; a dead peer is noticed; no object that cannot be decoded stops the others.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from ccm.kube.backoff import Backoff
from ccm.kube.client import KubeClient
from ccm.kube.errors import HTTP_UNPROCESSABLE, ApiError, Unreachable
from ccm.kube.kinds import Kind
from ccm.kube.lines import LineReader
from ccm.kube.model import O
from ccm.kube.store import Store, is_newer
from ccm.kube.watch_events import Decoder, MangledLine, Page

_log = logging.getLogger(__name__)

PAGE_SIZE = 500
_BAD_REQUEST = 400
_STREAMING_UNKNOWN = (_BAD_REQUEST, 415, HTTP_UNPROCESSABLE, 501)
"""Answers of a server that does not stream lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long things take, in seconds."""

    watch_s: float = 300.0
    """A watch is asked to end after this, up to twice as long, so that load spreads over several servers again."""
    idle_s: float = 75.0
    """A watch on which nothing comes for so long has no peer any more; bookmarks come every minute."""
    list_s: float = 60.0
    """For one page, and for a streamed list as a whole."""
    open_s: float = 30.0
    settled_s: float = 5.0
    """A watch that lived so long and ended well is opened again at once; one that ended sooner, after a pause."""


class Reflector(Generic[O]):
    """Fills a store with all objects of a kind, in all namespaces."""

    def __init__(
        self,
        client: KubeClient,
        kind: Kind[O],
        store: Store[O],
        *,
        times: Times | None = None,
        streams_list: bool = True,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._kind = kind
        self._store = store
        self._times = times or Times()
        self._streams_list = streams_list
        self._chance = chance
        self._decoder = Decoder(kind)
        self._version = ""
        """Up to where the store is; empty: nothing is known, or what was known is too old."""
        self._may_be_old = True
        """Whether a listing from the server's memory will do; the first may be old, one after 410 must not."""
        self._mangled_at = ""
        self._synced = asyncio.Event()
        self.lists = 0
        """Complete listings taken in."""
        self.failures = 0
        """How often a listing or a watch broke."""

    @property
    def is_synced(self) -> bool:
        """Whether the store has once been complete."""
        return self._synced.is_set()

    async def synced(self, deadline: float | None = None) -> None:
        """Wait until the store is complete for the first time, without a deadline for ever; raises TimeoutError."""
        async with asyncio.timeout_at(deadline):
            await self._synced.wait()

    async def run(self) -> None:
        """Keep the store as it should be, until cancelled."""
        backoff = Backoff(clock=_now, chance=self._chance)
        while True:
            began = _now()
            pause_s = 0.0
            try:
                await self._follow()
            except (ApiError, Unreachable, MangledLine) as error:
                pause_s = max(backoff.next_s(), self._note(error))
                _log.warning("%s: goes on in %.1f s: %s", self._kind.plural, pause_s, error)
            else:
                if _now() - began < self._times.settled_s:
                    pause_s = backoff.next_s()
            await asyncio.sleep(pause_s)

    def _note(self, error: Exception) -> float:
        """Draw the conclusions from a failure; gives the pause that the server asks for."""
        self.failures += 1
        if isinstance(error, MangledLine):
            # Once it may be the connection. If the same place is mangled again, a listing leads past it.
            if self._mangled_at == self._version:
                self._version, self._may_be_old = "", False
            self._mangled_at = self._version
        if isinstance(error, ApiError):
            if error.is_expired or error.status in (_BAD_REQUEST, HTTP_UNPROCESSABLE):
                # The version asked for is one that this server cannot go on from.
                self._version, self._may_be_old = "", False
            return error.retry_after_s
        return 0.0

    async def _follow(self) -> None:
        """Go on from where the store is until the watch ends well; list first where nothing is known."""
        if not self._version:
            if self._streams_list and await self._watch_from_list():
                return
            await self._list()
        await self._watch()

    # Listing

    async def _list(self) -> None:
        page_of_all: Page[O] = Page()
        token, limit = "", 0 if self._may_be_old else PAGE_SIZE
        while True:
            query = {"resourceVersion": "0"} if self._may_be_old else {}
            query |= {"limit": str(limit)} if limit else {}
            query |= {"continue": token} if token else {}
            try:
                page = await self._page(query)
            except ApiError as error:
                if not (token and error.is_expired):
                    raise
                # The pages took longer than the server keeps its history: one answer with everything cannot expire.
                _log.warning("%s: a listing in pages came too late, so it is made in one: %s", self._kind.plural, error)
                page_of_all, token, limit = Page(), "", 0
                continue
            page_of_all.found.update(page.found)
            page_of_all.unread.extend(page.unread)
            token = page.continue_
            if not token:
                self._take_in(page_of_all, page.version)
                return

    async def _page(self, query: dict[str, str]) -> Page[O]:
        deadline = _now() + self._times.list_s
        return self._decoder.page(await self._client.request("GET", self._kind.path(), query=query, deadline=deadline))

    def _take_in(self, page: Page[O], version: str) -> None:
        self._store.replace(page.found, keep=page.unread)
        self._version = version
        self.lists += 1
        self._synced.set()

    # Watching

    def _watch_query(self) -> dict[str, str]:
        seconds = int(self._times.watch_s * (1 + self._chance()))
        return {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(max(1, seconds))}

    async def _watch_from_list(self) -> bool:
        """Let the server stream everything that there is, and go on with the same stream; False if it cannot."""
        # Without a version the stream begins with what is there now, from the server's memory all the same.
        query = self._watch_query() | {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        open_by = _now() + self._times.open_s
        page: Page[O] = Page()
        is_open = False
        try:
            async with self._client.stream(
                self._kind.path(), query=query, deadline=open_by, idle_s=self._times.idle_s
            ) as lines:
                is_open = True
                version, rest = await self._initial(lines, page)
                self._take_in(page, version)
                self._apply(rest)
                await self._apply_all(lines)
                return True
        except ApiError as error:
            if is_open or error.status not in _STREAMING_UNKNOWN:
                raise
            self._list_from_now_on(str(error))
        except TimeoutError:
            self._list_from_now_on(f"no end of the streamed list within {self._times.list_s:.0f} s")
        return False

    def _list_from_now_on(self, why: str) -> None:
        _log.info("%s: listed in pages from now on, as this server streams no lists: %s", self._kind.plural, why)
        self._streams_list = False

    async def _initial(self, lines: LineReader, page: Page[O]) -> tuple[str, Sequence[bytes]]:
        """Collect what there is; gives the version that it is of, and the lines that came already after it."""
        async with asyncio.timeout(self._times.list_s):
            while chunk := await lines.read():
                for number, line in enumerate(chunk):
                    event = self._decoder.event(line)
                    if event.ends_initial:
                        return event.version, chunk[number + 1 :]
                    if event.found is not None:
                        page.found[event.key] = event.found
                    elif event.key:
                        page.unread.append(event.key)
        raise Unreachable(f"WATCH {self._kind.path()}: the stream ended before everything was told")

    async def _watch(self) -> None:
        query = self._watch_query() | {"resourceVersion": self._version}
        open_by = _now() + self._times.open_s
        async with self._client.stream(
            self._kind.path(), query=query, deadline=open_by, idle_s=self._times.idle_s
        ) as lines:
            await self._apply_all(lines)

    async def _apply_all(self, lines: LineReader) -> None:
        while chunk := await lines.read():
            self._apply(chunk)

    def _apply(self, lines: Sequence[bytes]) -> None:
        for line in lines:
            event = self._decoder.event(line)
            if event.type == "DELETED":
                self._store.remove(event.key, uid=event.uid, version=event.version)
            elif event.found is not None:
                self._store.apply(event.found)
            if event.version and is_newer(event.version, self._version):
                self._version = event.version


def _now() -> float:
    return asyncio.get_running_loop().time()
