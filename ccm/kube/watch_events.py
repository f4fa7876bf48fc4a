"""Lines of a watch and pages of a listing, decoded; what cannot be decoded is told, and costs only itself."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic

import msgspec

from ccm.kube.errors import ApiError, Status, error_of
from ccm.kube.kinds import Kind
from ccm.kube.model import ListMeta, O

_log = logging.getLogger(__name__)

INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class _Line(msgspec.Struct, frozen=True, gc=False):
    type: str
    object: msgspec.Raw


class _MarkMeta(msgspec.Struct, frozen=True, rename="camel", gc=False):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    annotations: Mapping[str, str] | None = None


class _Mark(msgspec.Struct, frozen=True, gc=False):
    """As much of an object as a place in the history needs."""

    metadata: _MarkMeta = _MarkMeta()

    @property
    def key(self) -> str:
        meta = self.metadata
        return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


class _RawList(msgspec.Struct, frozen=True):
    kind: str = ""
    metadata: ListMeta = ListMeta()
    items: list[msgspec.Raw] | None = None


class _List(msgspec.Struct, Generic[O], frozen=True):
    kind: str = ""
    metadata: ListMeta = ListMeta()
    items: list[O] | None = None


@dataclass(frozen=True, slots=True)
class Event(Generic[O]):
    """One line of a watch."""

    type: str
    """`ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`."""
    version: str
    key: str = ""
    uid: str = ""
    found: O | None = None
    """None for a bookmark, and for an object that cannot be decoded."""
    ends_initial: bool = False
    """Whether everything that there was at the start has been told by now."""


@dataclass(frozen=True, slots=True)
class Page(Generic[O]):
    """A page of a listing."""

    found: dict[str, O] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    """Keys of objects that are there and cannot be decoded."""
    version: str = ""
    continue_: str = ""


class MangledLine(Exception):  # noqa: N818 - it says what was found
    """A line that is no event: the stream cannot be trusted any more."""


class Decoder(Generic[O]):
    """Decodes what the API server tells of one kind."""

    def __init__(self, kind: Kind[O]) -> None:
        self._kind = kind
        self._lines = msgspec.json.Decoder(_Line)
        self._objects = msgspec.json.Decoder(kind.type)
        self._marks = msgspec.json.Decoder(_Mark)
        self._lists = msgspec.json.Decoder(_List[kind.type])  # type: ignore[name-defined]
        self._raw_lists = msgspec.json.Decoder(_RawList)

    def event(self, line: bytes) -> Event[O]:
        """Decode a line; raises ApiError for an event that is an error, MangledLine for what is no event."""
        try:
            event = self._lines.decode(line)
            if event.type in ("ADDED", "MODIFIED", "DELETED"):
                return self._change(event)
            if event.type == "ERROR":
                raise self._error(event.object)
            mark = self._marks.decode(event.object)
        except msgspec.MsgspecError as error:
            raise MangledLine(f"{self._kind.plural}: a line of the watch is no event: {error}") from error
        ends = (mark.metadata.annotations or {}).get(INITIAL_EVENTS_END) == "true"
        return Event("BOOKMARK", mark.metadata.resource_version, ends_initial=ends)

    def page(self, body: bytes) -> Page[O]:
        """Decode a page; raises MangledLine for what is none."""
        try:
            listing = self._lists.decode(body)
        except msgspec.MsgspecError:
            return self._page_one_by_one(body)
        self._check(listing.kind, listing.metadata)
        found = {one.key: one for one in listing.items or ()}
        return Page(found, [], listing.metadata.resource_version, listing.metadata.continue_)

    def _change(self, event: _Line) -> Event[O]:
        try:
            found = self._objects.decode(event.object)
        except msgspec.ValidationError as error:
            mark = self._marks.decode(event.object)
            self._complain(mark, error)
            return Event(event.type, mark.metadata.resource_version, mark.key, mark.metadata.uid)
        return Event(event.type, found.metadata.resource_version, found.key, found.metadata.uid, found)

    def _error(self, raw: msgspec.Raw) -> ApiError:
        status = msgspec.json.decode(raw, type=Status)
        return error_of(f"WATCH {self._kind.path()}", status.code or 0, bytes(raw))

    def _check(self, kind: str, meta: ListMeta) -> None:
        """Refuse what is JSON, but no listing: taken for an empty one it would make every object seem to be gone."""
        if kind != f"{self._kind.kind}List" or not meta.resource_version:
            raise MangledLine(f"{self._kind.plural}: the answer is no listing, but {kind or 'something unnamed'}")

    def _page_one_by_one(self, body: bytes) -> Page[O]:
        try:
            listing = self._raw_lists.decode(body)
            marks = [self._marks.decode(raw) for raw in listing.items or ()]
        except msgspec.MsgspecError as error:
            raise MangledLine(f"{self._kind.plural}: a listing cannot be read: {error}") from error
        self._check(listing.kind, listing.metadata)
        page: Page[O] = Page({}, [], listing.metadata.resource_version, listing.metadata.continue_)
        for raw, mark in zip(listing.items or (), marks, strict=True):
            try:
                page.found[mark.key] = self._objects.decode(raw)
            except msgspec.ValidationError as error:
                page.unread.append(mark.key)
                self._complain(mark, error)
        return page

    def _complain(self, mark: _Mark, error: Exception) -> None:
        text = "%s %s: it is passed over, because it cannot be read as this program knows it: %s"
        _log.error(text, self._kind.kind, mark.key, error)
