"""Objects of one kind as the API server last told them, with indices and subscribers.

Filled by `ccm.kube.reflector`, read by everybody, in one event loop: there is nothing to lock.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Generic, TypeAlias

from ccm.kube.model import O

_log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[O | None, O | None], None]
"""Takes an object before and after: (None, new) when it appeared, (old, new), or (old, None) when it went."""


class Store(Generic[O]):
    """A cache of one kind."""

    def __init__(self) -> None:
        self._objects: dict[str, O] = {}
        self._handlers: list[Handler[O]] = []
        self._indices: dict[str, _Index[O]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: object) -> bool:
        return key in self._objects

    def get(self, key: str) -> O | None:
        """Give an object by its key, `namespace/name` or the name alone."""
        return self._objects.get(key)

    def values(self) -> Collection[O]:
        """Give all objects; a copy, so that it may be walked across an await."""
        return tuple(self._objects.values())

    def add_index(self, name: str, values_of: Callable[[O], Iterable[str]]) -> None:
        """Keep an index: under which values each object is found. What is there already is taken in."""
        index = _Index(values_of)
        for key, found in self._objects.items():
            index.change(key, None, found)
        self._indices[name] = index

    def by_index(self, name: str, value: str) -> tuple[O, ...]:
        """Give the objects with this value in an index; raises KeyError for an index that nobody has added."""
        return tuple(self._objects[key] for key in self._indices[name].keys_of(value))

    def subscribe(self, handler: Handler[O]) -> None:
        """Tell of every change from now on, and first of what is there, as if it had just appeared.

        A handler must be quick and must not wait: it puts keys into queues. An object that was replaced by another one
        of the same name (another uid) is told as two changes. An error of a handler is logged and stops nothing.
        """
        self._handlers.append(handler)
        for found in self.values():
            _tell(handler, None, found)

    # For the reflector

    def apply(self, found: O) -> None:
        """Take in an object that an event told of; one that is not newer than what is there changes nothing."""
        old = self._objects.get(found.key)
        if old is not None and not is_newer(_version(found), _version(old)):
            return
        self._set(found.key, old, found)

    def remove(self, key: str, *, uid: str, version: str) -> None:
        """Take out an object that an event told to be gone, unless the one that is there is another or a newer one."""
        old = self._objects.get(key)
        if old is not None and old.metadata.uid == uid and not is_newer(_version(old), version):
            self._set(key, old, None)

    def replace(self, found: Mapping[str, O], *, keep: Collection[str] = ()) -> None:
        """Take in a complete listing by key: what is missing in it and not in `keep` is gone.

        The listing counts even where it is older: after a restore of the server's data it is what there is.
        """
        for key in [key for key in self._objects if key not in found and key not in keep]:
            self._set(key, self._objects[key], None)
        for key, new in found.items():
            old = self._objects.get(key)
            if old is None or _version(old) != _version(new) or old.metadata.uid != new.metadata.uid:
                self._set(key, old, new)

    def _set(self, key: str, old: O | None, new: O | None) -> None:
        if old is not None and new is not None and old.metadata.uid != new.metadata.uid:
            self._set(key, old, None)
            old = None
        if new is None:
            del self._objects[key]
        else:
            self._objects[key] = new
        for index in self._indices.values():
            index.change(key, old, new)
        for handler in self._handlers:
            _tell(handler, old, new)


class _Index(Generic[O]):
    """Which keys are found under a value."""

    def __init__(self, values_of: Callable[[O], Iterable[str]]) -> None:
        self._values_of = values_of
        self._keys: dict[str, dict[str, None]] = {}

    def keys_of(self, value: str) -> Iterable[str]:
        return self._keys.get(value, ())

    def change(self, key: str, old: O | None, new: O | None) -> None:
        before = set() if old is None else set(self._values_of(old))
        after = set() if new is None else set(self._values_of(new))
        for value in before - after:
            keys = self._keys[value]
            del keys[key]
            if not keys:
                del self._keys[value]
        for value in after - before:
            self._keys.setdefault(value, {})[key] = None


def _tell(handler: Handler[O], old: O | None, new: O | None) -> None:
    try:
        handler(old, new)
    except Exception:  # noqa: BLE001 - one subscriber that fails must not stop the others, nor the watch
        _log.exception("a handler failed on %s", next((one.key for one in (new, old) if one is not None), ""))


def _version(found: O) -> str:
    return found.metadata.resource_version


def is_newer(new: str, old: str) -> bool:
    """Whether an event brings something new. Versions are numbers that grow; any other kind is told by its change."""
    if new.isdigit() and old.isdigit():
        return int(new) > int(old)
    return new != old
