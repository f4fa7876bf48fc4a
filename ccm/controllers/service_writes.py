"""Writes to services: the finalizer before the platform is written to, address and annotations afterwards.

Each write is one merge patch of `services/status`, which takes metadata and status in one request (ccm-anchors 1.7),
and each demands the version that it was worked out from: a list in it cannot lose what others put there meanwhile, and
a service that was made anew under the same name is never mistaken for the old one.
"""

from collections.abc import Callable
from typing import Any

from ccm.controllers.object_client import ObjectClient
from ccm.controllers.published import SILENT, Published, Said
from ccm.desired.status import is_published
from ccm.kube.errors import ApiError
from ccm.kube.kinds import SERVICES
from ccm.kube.model import Condition, Ingress, Service
from ccm.names import FINALIZER

READY = "thecloud.dev/LoadBalancerReady"
"""Type of the condition that says whether the load balancer is as the service wants it."""
_TRIES = 4
_CONFLICT = 409
_MAX_REMEMBERED = 10_000
Wire = dict[str, Any]


class ServiceWrites:
    """Writes, and remembers what the server answered until the watch has brought it.

    `now` gives the time as Kubernetes writes it.
    """

    def __init__(self, client: ObjectClient[Service], *, now: Callable[[], str]) -> None:
        self._client = client
        self._now = now
        self._answered: dict[str, Service] = {}

    def newest(self, cached: Service) -> Service:
        """Give the service as the last write left it when the cache is behind that, else as cached."""
        answered = self._answered.get(cached.metadata.uid)
        if answered is None:
            return cached
        if _version(answered) > _version(cached):
            return answered
        del self._answered[cached.metadata.uid]
        return cached

    def forget(self, uid: str) -> None:
        """Drop what is remembered of a service."""
        self._answered.pop(uid, None)

    async def read(self, service: Service, *, deadline: float) -> Service | None:
        """Ask the server for the service of this name; None when it is gone or another one by now."""
        meta = service.metadata
        found = await self._client.get(SERVICES, meta.name, meta.namespace, deadline=deadline)
        if found is None or found.metadata.uid != meta.uid:
            self.forget(meta.uid)
            return None
        self._remember(found)
        return found

    async def hold(self, service: Service, *, deadline: float) -> Service | None:
        """Put our finalizer on; None when the service is going, gone or another one. Raises ApiError, Unreachable."""

        def body(seen: Service) -> Wire | None:
            if FINALIZER in seen.finalizers:
                return None
            return {"metadata": {"finalizers": [*seen.finalizers, FINALIZER]}}

        after = await self._write(service, body, deadline=deadline)
        return after if after is not None and not after.is_going else None

    async def publish(self, service: Service, wanted: Published, *, deadline: float) -> Service | None:
        """Write what differs from what the server holds; no request when nothing does.

        None when the service is gone or another one. Raises ApiError, Unreachable.
        """
        return await self._write(service, lambda seen: self._differences(seen, wanted), deadline=deadline)

    async def release(self, service: Service, *, deadline: float) -> None:
        """Take our finalizer off, and what we have said about the load balancer. Raises ApiError, Unreachable."""

        def body(seen: Service) -> Wire | None:
            # The object goes with its last finalizer: what else it says does not matter then.
            patch = {} if seen.is_going else (self._differences(seen, SILENT) or {})
            if FINALIZER in seen.finalizers:
                kept = [one for one in seen.finalizers if one != FINALIZER]
                patch.setdefault("metadata", {})["finalizers"] = kept
            return patch or None

        await self._write(service, body, deadline=deadline)
        self.forget(service.metadata.uid)

    async def _write(
        self, service: Service, body: Callable[[Service], Wire | None], *, deadline: float
    ) -> Service | None:
        """Patch what `body` makes of the service, again from a fresh read when it was not the newest."""
        meta, seen = service.metadata, self.newest(service)
        for attempt in range(_TRIES):
            patch = body(seen)
            if patch is None or (seen.is_going and FINALIZER not in seen.finalizers):
                return seen
            patch.setdefault("metadata", {})["resourceVersion"] = seen.metadata.resource_version
            try:
                after = await self._client.patch(
                    SERVICES, meta.name, meta.namespace, subresource="status", body=patch, deadline=deadline
                )
            except ApiError as failure:
                if failure.status != _CONFLICT or attempt + 1 == _TRIES:
                    raise
                fresh = await self.read(service, deadline=deadline)
                if fresh is None:
                    return None
                seen = fresh
                continue
            if after is None:
                self.forget(meta.uid)
                return None
            self._remember(after)
            return after
        raise AssertionError("the last try returns or raises")

    def _differences(self, seen: Service, wanted: Published) -> Wire | None:
        patch: Wire = {}
        held = seen.annotations
        changed = {key: text or None for key, text in wanted.annotations.items() if held.get(key, "") != text}
        if changed:
            patch["metadata"] = {"annotations": changed}
        status: Wire = {}
        if wanted.ingress is not None and not is_published(seen, wanted.ingress):
            status["loadBalancer"] = {"ingress": [_ingress(one) for one in wanted.ingress] or None}
        conditions = None if wanted.condition is None else self._conditions(seen, wanted.condition)
        if conditions is not None:
            status["conditions"] = conditions
        if status:
            patch["status"] = status
        return patch or None

    def _conditions(self, seen: Service, wanted: Said) -> list[Wire] | None:
        """Give the list to be written, those of others as they are; None when ours is right."""
        held = seen.status.conditions or ()
        ours = next((one for one in held if one.type == READY), None)
        if ours is None and not wanted.status:
            return None
        if ours is not None and Said(ours.status, ours.reason, ours.message) == wanted:
            return None
        others = [_condition(one) for one in held if one.type != READY]
        if not wanted.status:
            return others
        since = ours.last_transition_time if ours is not None and ours.status == wanted.status else self._now()
        mine = Condition(
            type=READY,
            status=wanted.status,
            reason=wanted.reason,
            message=wanted.message,
            last_transition_time=since,
        )
        return [*others, _condition(mine)]

    def _remember(self, answered: Service) -> None:
        self._answered[answered.metadata.uid] = answered
        if len(self._answered) > _MAX_REMEMBERED:
            del self._answered[next(iter(self._answered))]


def _ingress(point: Ingress) -> Wire:
    fields = {"ip": point.ip, "hostname": point.hostname, "ipMode": point.ip_mode}
    return {key: value for key, value in fields.items() if value}


def _condition(condition: Condition) -> Wire:
    found: Wire = {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.last_transition_time,
    }
    if condition.observed_generation:
        found["observedGeneration"] = condition.observed_generation
    return found


def _version(service: Service) -> int:
    """Give the order of versions; they are numbers that grow (KEP-5504), and 0 stands for anything else."""
    text = service.metadata.resource_version
    return int(text) if text.isdigit() else 0
