"""Events of the service controller, each only when something changes: what was said before is not said again."""

from collections.abc import Iterable
from typing import Protocol

from ccm.kube.model import Node, Service
from ccm.notices import Notice


class Recorder(Protocol):
    """Where events go; `ccm.kube.events.EventRecorder` is one. Neither method blocks or raises."""

    def normal(self, obj: Node | Service, reason: str, message: str) -> None:
        """Say that something happened."""
        ...

    def warning(self, obj: Node | Service, reason: str, message: str) -> None:
        """Say that something is wrong."""
        ...


class Telling:
    """Remembers by service what was said."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._notices: dict[str, frozenset[tuple[str, str]]] = {}
        self._begun: dict[str, str] = {}
        self._failed: dict[str, tuple[str, str]] = {}

    def notices(self, service: Service, notices: Iterable[Notice], *, is_old: bool = False) -> None:
        """Warn of everything that was not there the last time.

        `is_old` says that an earlier run has told them already: they are remembered only.
        """
        uid, found = service.metadata.uid, frozenset((one.reason.value, one.text) for one in notices)
        known = self._notices.get(uid)
        if known is None and is_old:
            known = found
        for reason, message in sorted(found - (known or frozenset())):
            self._recorder.warning(service, reason, message)
        self._notices[uid] = found

    def begun(self, service: Service, reason: str, message: str) -> None:
        """Say that work begins, once until it is done."""
        if self._begun.get(service.metadata.uid) != reason:
            self._begun[service.metadata.uid] = reason
            self._recorder.normal(service, reason, message)

    def failed(self, service: Service, reason: str, message: str) -> None:
        """Warn of a failure, once until another one or a success."""
        if self._failed.get(service.metadata.uid) != (reason, message):
            self._failed[service.metadata.uid] = (reason, message)
            self._recorder.warning(service, reason, message)

    def done(self, service: Service, reason: str, message: str) -> None:
        """Say that something was changed."""
        self.is_well(service)
        self._recorder.normal(service, reason, message)

    def is_well(self, service: Service) -> None:
        """Note that nothing is left to do and nothing failed, so that what comes next is news."""
        self._begun.pop(service.metadata.uid, None)
        self._failed.pop(service.metadata.uid, None)

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a service that is gone."""
        self._notices.pop(uid, None)
        self._begun.pop(uid, None)
        self._failed.pop(uid, None)
