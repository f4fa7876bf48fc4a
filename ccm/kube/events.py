"""Events that tell people what a controller did to an object; `kubectl describe` shows them.

They are for people only: never waited for, never an error for the caller, and lost rather than late. Limits are those
of client-go's recorder: what repeats is counted in one event, what varies without end is told in one, and an object
that causes events without end gets few.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from ccm.kube.client import KubeClient
from ccm.kube.errors import HTTP_CONFLICT, HTTP_TOO_MANY_REQUESTS, ApiError, KubeError, Unreachable
from ccm.kube.kinds import Kind, kind_of
from ccm.kube.limit import TokenBucket
from ccm.kube.model import Object

_log = logging.getLogger(__name__)

NORMAL = "Normal"
WARNING = "Warning"
COMBINED = "(combined from similar events): "
_LONGEST_MESSAGE = 1024
_LONGEST_NAME = 253
_TRIES = 12
_SERVER_ERROR = 500
_REMEMBERED = 4096


class _Event(Object, frozen=True, kw_only=True):
    """As much of an Event as is read."""


EVENTS: Kind[_Event] = Kind("", "v1", "events", "Event", _Event, is_namespaced=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is told."""

    queued: int = 1000
    """What comes beyond is dropped."""
    similar: int = 10
    """How many different messages of one reason on one object are told apart within `similar_s`."""
    similar_s: float = 600.0
    burst: int = 25
    """Events of one object at once; then one every `refill_s`."""
    refill_s: float = 300.0
    request_s: float = 30.0
    pause_s: float = 10.0
    """Between two tries; there are twelve."""


@dataclass(frozen=True, slots=True)
class _Note:
    """What is to be told."""

    component: str
    reference: tuple[tuple[str, str], ...]
    """`involvedObject` of the event."""
    type: str
    reason: str
    message: str
    at: str

    @property
    def source(self) -> tuple[Any, ...]:
        """Who tells of which object; its version does not make it another one."""
        return (self.component, tuple(pair for pair in self.reference if pair[0] != "resourceVersion"))

    @property
    def similar(self) -> tuple[Any, ...]:
        """Alike but for their texts."""
        return (*self.source, self.type, self.reason)


@dataclass(slots=True)
class _Told:
    """An event that the server has."""

    name: str
    namespace: str
    first_at: str
    count: int = 1


@dataclass(slots=True)
class _Similar:
    """Messages of one reason on one object."""

    messages: set[str] = field(default_factory=set)
    last_at: float = 0.0


_V = TypeVar("_V")


class _Recent(Generic[_V]):
    """A table that forgets what was used longest ago."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, _V] = OrderedDict()

    def get(self, key: Any, make: Callable[[], _V]) -> _V:
        found = self._kept.pop(key, None)
        self._kept[key] = made = make() if found is None else found
        if len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)
        return made

    def find(self, key: Any) -> _V | None:
        return self._kept.get(key)

    def put(self, key: Any, value: _V) -> None:
        self.get(key, lambda: value)
        self._kept[key] = value


class EventRecorder:
    """Takes events at any time; `run` writes them."""

    def __init__(
        self,
        client: KubeClient,
        *,
        component: str,
        host: str = "",
        limits: Limits | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._component = component
        self._shared = _Shared(client, host, limits or Limits(), clock)

    def of(self, component: str) -> "EventRecorder":
        """Give a recorder for another component that shares this one's queue; one `run` writes for all."""
        other = object.__new__(EventRecorder)
        other._component = component
        other._shared = self._shared
        return other

    @property
    def dropped(self) -> int:
        """How many events were not told."""
        return self._shared.dropped

    def normal(self, obj: Object, reason: str, message: str) -> None:
        """Tell of something that is as it should be; `reason` is one word in CamelCase."""
        self._shared.take(self._component, NORMAL, obj, reason, message)

    def warning(self, obj: Object, reason: str, message: str) -> None:
        """Tell of something that somebody may have to look at."""
        self._shared.take(self._component, WARNING, obj, reason, message)

    async def run(self) -> None:
        """Write events until cancelled."""
        await self._shared.run()

    async def flush(self, deadline: float) -> None:
        """Wait until everything that was told so far is written or given up, or the deadline passes."""
        await self._shared.flush(deadline)


class _Shared:
    """The queue, and the memory of what was told."""

    def __init__(self, client: KubeClient, host: str, limits: Limits, clock: Callable[[], float] | None) -> None:
        self._client = client
        self._host = host
        self._limits = limits
        self._clock = clock or asyncio.get_running_loop().time
        self._queue: asyncio.Queue[_Note] = asyncio.Queue(limits.queued)
        self._buckets: _Recent[TokenBucket] = _Recent()
        self._similar: _Recent[_Similar] = _Recent()
        self._told: _Recent[_Told] = _Recent()
        self._number = 0
        self.dropped = 0

    def take(self, component: str, kind: str, obj: Object, reason: str, message: str) -> None:
        try:
            reference = _reference(obj)
        except LookupError as error:
            _log.warning("an event is not told: %s", error)
            return
        text = message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 3] + "..."
        try:
            self._queue.put_nowait(_Note(component, reference, kind, reason, text, _now()))
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        while True:
            note = await self._queue.get()
            try:
                await self._tell(note)
            except KubeError as error:
                self.dropped += 1
                _log.warning("an event on %s is not told: %s: %s", _name(note), note.reason, error)
            finally:
                self._queue.task_done()

    async def flush(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._queue.join()
        except TimeoutError:
            _log.info("%d events are left untold", self._queue.qsize())

    async def _tell(self, note: _Note) -> None:
        message, key = self._combine(note)
        if not self._buckets.get(note.source, self._bucket).try_take():
            self.dropped += 1
            return
        # Made under the same name again where the first time was not answered, so that there is one in the end.
        name = self._new_name(note)
        for attempt in range(1, _TRIES + 1):
            try:
                await self._write(note, message, key, name)
            except (ApiError, Unreachable) as error:
                if attempt == _TRIES or not _may_pass(error):
                    raise
                pause_s = max(self._limits.pause_s, error.retry_after_s if isinstance(error, ApiError) else 0.0)
                await asyncio.sleep(pause_s)
            else:
                return

    def _bucket(self) -> TokenBucket:
        return TokenBucket(1 / self._limits.refill_s, self._limits.burst, clock=self._clock)

    def _combine(self, note: _Note) -> tuple[str, Any]:
        """Give the text to tell, and what makes it the same event as another."""
        similar = self._similar.get(note.similar, _Similar)
        now = self._clock()
        if now - similar.last_at > self._limits.similar_s:
            similar.messages.clear()
        similar.last_at = now
        if note.message not in similar.messages and len(similar.messages) >= self._limits.similar:
            return COMBINED + note.message, (*note.similar, COMBINED)
        similar.messages.add(note.message)
        return note.message, (*note.similar, note.message)

    async def _write(self, note: _Note, message: str, key: Any, name: str) -> None:
        deadline = asyncio.get_running_loop().time() + self._limits.request_s
        told = self._told.find(key)
        if told is not None:
            body = {"count": told.count + 1, "lastTimestamp": note.at, "message": message}
            found = await self._client.patch(EVENTS, told.name, told.namespace, body=body, deadline=deadline)
            if found is not None:
                told.count += 1
                return
        # The server forgets events after an hour.
        namespace = dict(note.reference).get("namespace") or "default"
        told = _Told(name, namespace, note.at)
        try:
            await self._client.create(EVENTS, self._body(note, message, told), namespace, deadline=deadline)
        except ApiError as error:
            if error.status != HTTP_CONFLICT:
                raise
        self._told.put(key, told)

    def _new_name(self, note: _Note) -> str:
        self._number += 1
        unique = f".{int(datetime.now(UTC).timestamp() * 1e6):x}{self._number % 4096:03x}"
        return _name(note)[: _LONGEST_NAME - len(unique)].rstrip(".-") + unique

    def _body(self, note: _Note, message: str, told: _Told) -> dict[str, Any]:
        source = {"component": note.component} | ({"host": self._host} if self._host else {})
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": told.name, "namespace": told.namespace},
            "involvedObject": dict(note.reference),
            "type": note.type,
            "reason": note.reason,
            "message": message,
            "source": source,
            "reportingComponent": note.component,
            "reportingInstance": self._host,
            "firstTimestamp": told.first_at,
            "lastTimestamp": note.at,
            "count": told.count,
        }


def _reference(obj: Object) -> tuple[tuple[str, str], ...]:
    kind: Kind[Any] = kind_of(obj)
    meta = obj.metadata
    pairs = {
        "kind": kind.kind,
        "apiVersion": kind.api_version,
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
    }
    return tuple((key, value) for key, value in pairs.items() if value)


def _name(note: _Note) -> str:
    return dict(note.reference)["name"]


def _may_pass(error: ApiError | Unreachable) -> bool:
    """Whether trying again later may help."""
    if isinstance(error, Unreachable):
        return True
    return error.status == HTTP_TOO_MANY_REQUESTS or error.status >= _SERVER_ERROR


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
