"""Objects of the fake Kubernetes API: resource versions, history, and the rules that a write has to pass.

The rules are those that controllers meet on a real kube-apiserver: what a subresource takes over and what it ignores,
preconditions, finalizers, fields that are written once, defaults.
"""

import copy
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Wire = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """A collection that is served."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    is_namespaced: bool = True
    has_status: bool = False
    needs_version: bool = False
    """Whether a PUT has to name the resource version that it replaces."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


RESOURCES = {
    one.plural: one
    for one in (
        Resource("nodes", "Node", is_namespaced=False, has_status=True),
        Resource("services", "Service", has_status=True),
        Resource("namespaces", "Namespace", is_namespaced=False, has_status=True),
        Resource("secrets", "Secret"),
        Resource("configmaps", "ConfigMap"),
        Resource("events", "Event"),
        Resource("leases", "Lease", group="coordination.k8s.io", needs_version=True),
    )
}
_OF_KIND = {one.kind: one for one in RESOURCES.values()}


class RefusalError(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, reason: str, message: str, *, cause: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.cause = cause

    @property
    def body(self) -> Wire:
        """The `Status` object that says so."""
        details = {"details": {"causes": [{"reason": self.cause, "message": self.message}]}} if self.cause else {}
        head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        return {**head, "message": self.message, "reason": self.reason, "code": self.status, **details}


@dataclass(frozen=True, slots=True)
class Change:
    """A line of the history; `type` as in a watch."""

    version: int
    type: str
    plural: str
    found: Wire


Key = tuple[str, str, str]
"""Plural, namespace, name."""


@dataclass
class Objects:
    """Everything that is stored, and what changed since the last compaction."""

    version: int = 100
    kept: dict[Key, Wire] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    compacted: int = 0
    """Watches and pages from before this version get 410."""
    listeners: list[Callable[[], None]] = field(default_factory=list)
    has_ip_mode: bool = True
    """Whether the server knows `ipMode`; an old one drops it silently."""

    # Reading

    def get(self, plural: str, name: str, namespace: str = "") -> Wire:
        found = self.kept.get((plural, namespace, name))
        if found is None:
            raise RefusalError(404, "NotFound", f'{plural} "{name}" not found')
        return found

    def all_of(self, plural: str, namespace: str = "") -> list[Wire]:
        """All of a kind, in the order of their keys."""
        keys = sorted(key for key in self.kept if key[0] == plural and namespace in ("", key[1]))
        return [self.kept[key] for key in keys]

    def since(self, version: int, plural: str, namespace: str = "") -> list[Change]:
        """What changed after a version."""
        return [
            one
            for one in self.history
            if one.version > version and one.plural == plural and namespace in ("", _namespace(one.found))
        ]

    # The cluster's life, without rules

    def put(self, wire: Wire) -> Wire:
        """Store an object as it is given, with a uid and a version of its own."""
        resource = _OF_KIND[wire["kind"]]
        found = copy.deepcopy(wire)
        found.setdefault("apiVersion", resource.api_version)
        meta = found.setdefault("metadata", {})
        if resource.is_namespaced:
            meta.setdefault("namespace", "default")
        old = self.kept.get((resource.plural, meta.get("namespace", ""), meta["name"]))
        meta.setdefault("uid", old["metadata"]["uid"] if old else str(uuid.uuid4()))
        meta.setdefault("creationTimestamp", now())
        self._default(found)
        return self._store(resource, found, "MODIFIED" if old else "ADDED")

    def remove(self, plural: str, name: str, namespace: str = "") -> None:
        """Take an object away at once, whatever holds it."""
        self._forget(RESOURCES[plural], self.get(plural, name, namespace))

    def compact(self) -> None:
        """Forget the history: whoever watches or pages from an older version has to list again."""
        self.version += 1
        self.compacted = self.version
        self.history.clear()

    # Writes of clients, with rules

    def create(self, resource: Resource, namespace: str, wire: Wire) -> Wire:
        found = copy.deepcopy(wire)
        meta = found.setdefault("metadata", {})
        if resource.is_namespaced and meta.setdefault("namespace", namespace) != namespace:
            raise RefusalError(400, "BadRequest", "the namespace of the object does not match that of the request")
        if not meta.get("name"):
            raise RefusalError(422, "Invalid", "metadata.name: Required value: name or generateName is required")
        if (resource.plural, meta.get("namespace", ""), meta["name"]) in self.kept:
            raise RefusalError(409, "AlreadyExists", f'{resource.plural} "{meta["name"]}" already exists')
        for ours in ("uid", "resourceVersion", "deletionTimestamp", "creationTimestamp"):
            meta.pop(ours, None)
        if resource.plural == "services":
            found.pop("status", None)
        if resource.plural == "nodes":
            _taint_as_not_ready(found)
        found.setdefault("kind", resource.kind)
        return copy.deepcopy(self.put(found))

    def replace(self, resource: Resource, namespace: str, name: str, subresource: str, wire: Wire) -> Wire:
        old = self.get(resource.plural, name, namespace)
        if resource.needs_version and not wire.get("metadata", {}).get("resourceVersion"):
            raise RefusalError(422, "Invalid", "metadata.resourceVersion: must be specified for an update")
        return self._write(resource, subresource, old, copy.deepcopy(wire))

    def patch(self, resource: Resource, namespace: str, name: str, subresource: str, body: Wire) -> Wire:
        old = self.get(resource.plural, name, namespace)
        return self._write(resource, subresource, old, merge(old, body))

    def delete(self, resource: Resource, namespace: str, name: str, options: Wire) -> Wire:
        found = self.get(resource.plural, name, namespace)
        meta = found["metadata"]
        for wanted, key in (("uid", "uid"), ("resourceVersion", "resourceVersion")):
            demanded = options.get("preconditions", {}).get(wanted)
            if demanded and demanded != meta[key]:
                text = (
                    f"the {wanted} in the precondition ({demanded}) does not match the {wanted} in record ({meta[key]})"
                )
                raise RefusalError(
                    409, "Conflict", f'Operation cannot be fulfilled on {resource.plural} "{name}": {text}'
                )
        if meta.get("finalizers"):
            if "deletionTimestamp" in meta:
                return copy.deepcopy(found)
            going = copy.deepcopy(found)
            going["metadata"] |= {"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}
            return copy.deepcopy(self._store(resource, going, "MODIFIED"))
        self._forget(resource, found)
        details = {"name": name, "kind": resource.plural, "uid": meta["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _write(self, resource: Resource, subresource: str, old: Wire, new: Wire) -> Wire:
        meta, before = new.setdefault("metadata", {}), old["metadata"]
        demanded = meta.get("resourceVersion")
        if demanded and demanded != before["resourceVersion"]:
            text = "the object has been modified; please apply your changes to the latest version and try again"
            name = before["name"]
            raise RefusalError(409, "Conflict", f'Operation cannot be fulfilled on {resource.plural} "{name}": {text}')
        for ours in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp"):
            meta.pop(ours, None)
            if ours in before:
                meta[ours] = before[ours]
        self._keep_other_part(resource, subresource, old, new)
        _check(resource, old, new)
        self._default(new)
        if "deletionTimestamp" in meta and not meta.get("finalizers"):
            self._forget(resource, new)
            return copy.deepcopy(new)
        if new == old:
            return copy.deepcopy(old)
        return copy.deepcopy(self._store(resource, new, "MODIFIED"))

    def _keep_other_part(self, resource: Resource, subresource: str, old: Wire, new: Wire) -> None:
        """A write of the main resource leaves the status alone; one of the status, all but metadata and status."""
        new |= {"kind": old["kind"], "apiVersion": old["apiVersion"]}
        if not resource.has_status:
            return
        kept = [key for key in old.keys() | new.keys() if key not in ("metadata", "status")]
        for part in kept if subresource == "status" else ["status"]:
            new.pop(part, None)
            if part in old:
                new[part] = copy.deepcopy(old[part])

    def _default(self, found: Wire) -> None:
        for point in found.get("status", {}).get("loadBalancer", {}).get("ingress") or ():
            if not self.has_ip_mode:
                point.pop("ipMode", None)
            elif point.get("ip"):
                point.setdefault("ipMode", "VIP")
            elif "ipMode" in point:
                text = "may not be specified when `ip` is not set"
                raise RefusalError(422, "Invalid", f"status.loadBalancer.ingress[0].ipMode: Forbidden: {text}")

    def _store(self, resource: Resource, found: Wire, kind: str) -> Wire:
        self.version += 1
        meta = found["metadata"]
        meta["resourceVersion"] = str(self.version)
        self.kept[resource.plural, meta.get("namespace", ""), meta["name"]] = found
        self._note(Change(self.version, kind, resource.plural, found))
        return found

    def _forget(self, resource: Resource, found: Wire) -> None:
        self.version += 1
        gone = copy.deepcopy(found)
        gone["metadata"]["resourceVersion"] = str(self.version)
        del self.kept[resource.plural, _namespace(found), found["metadata"]["name"]]
        self._note(Change(self.version, "DELETED", resource.plural, gone))

    def _note(self, change: Change) -> None:
        self.history.append(change)
        for listener in tuple(self.listeners):
            listener()


def _taint_as_not_ready(found: Wire) -> None:
    """Do what the real server's admission does to each new node; its lifecycle controller takes it away again."""
    key = "node.kubernetes.io/not-ready"
    taints = found.setdefault("spec", {}).setdefault("taints", [])
    if not any(one["key"] == key for one in taints):
        taints.append({"key": key, "effect": "NoSchedule"})


def _check(resource: Resource, old: Wire, new: Wire) -> None:
    """Refuse what no write may change."""
    was, wanted = (one.get("spec", {}).get("providerID", "") for one in (old, new))
    if resource.plural == "nodes" and was and wanted != was:
        text = 'may not change providerID except from "" to valid'
        raise RefusalError(
            422, "Invalid", f'Node "{old["metadata"]["name"]}" is invalid: spec.providerID: Forbidden: {text}'
        )
    added = _added(old["metadata"].get("finalizers"), new["metadata"].get("finalizers"))
    if "deletionTimestamp" in old["metadata"] and added:
        text = f"no new finalizers can be added if the object is being deleted, found new finalizers {added}"
        raise RefusalError(422, "Invalid", f"metadata.finalizers: Forbidden: {text}")


def _added(before: Iterable[str] | None, after: Iterable[str] | None) -> list[str]:
    return sorted(set(after or ()) - set(before or ()))


def merge(target: Any, change: Any) -> Any:
    """Apply a JSON merge patch (RFC 7386); neither argument is changed."""
    if not isinstance(change, dict):
        return copy.deepcopy(change)
    result = copy.deepcopy(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _namespace(found: Wire) -> str:
    return str(found["metadata"].get("namespace", ""))
