"""A platform with state at the HTTP boundary, in both tiers, with the strict tier's quirks (platform contract 9)."""

import asyncio
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.unit.thecloud.scripted import KEY, Reply, failure, ok, raw_500
from thecloud.client import Client
from thecloud.lean_httpx import httpx
from thecloud.settings import PlatformSettings

FEATURES = (
    "errors.precise",
    "instance.zone",
    "lb.listeners",
    "lb.targets-put",
    "lb.address",
    "lb.health-check",
    "lb.tags",
    "lb.certificates",
    "list.etag",
)
VPC_ID = "4f1c2d3e-0000-4000-8000-00000000ffff"
OTHER_VPC_ID = "4f1c2d3e-0000-4000-8000-00000000fffe"
Row = dict[str, Any]


def uuid_of(number: int) -> str:
    return f"4f1c2d3e-0000-4000-8000-{number:012x}"


@dataclass
class Fault:
    """What goes wrong at a route; `is_after`: it is done all the same, and the answer lost."""

    method: str
    path: str
    reply: Reply
    times: int
    is_after: bool


@dataclass
class FakePlatform:
    """The platform; `requests` is what it was asked, without the discovery."""

    tier: str = "extended"
    features: tuple[str, ...] = FEATURES
    purge_after_s: float = 3.0
    instances: dict[str, Row] = field(default_factory=dict)
    balancers: dict[str, Row] = field(default_factory=dict)
    targets: dict[str, dict[str, Row]] = field(default_factory=dict)
    certificates: dict[str, Row] = field(default_factory=dict)
    vpcs: list[str] = field(default_factory=lambda: [VPC_ID])
    requests: list[httpx.Request] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(0x1000))
    _dead_since: dict[str, float] = field(default_factory=dict)

    def add_instance(self, number: int, **fields: Any) -> str:
        instance_id = uuid_of(number)
        row = {"id": instance_id, "name": f"node-{number}", "status": "RUNNING", "vpc_id": VPC_ID}
        self.instances[instance_id] = row | fields
        return instance_id

    def fail(self, method: str, path: str, reply: Reply, *, times: int = 1, after: bool = False) -> None:
        self._faults.append(Fault(method, path, reply, times, after))

    def calls(self, *methods: str) -> list[str]:
        return [f"{one.method} {one.url.path}" for one in self.requests if not methods or one.method in methods]

    def writes(self) -> list[str]:
        return self.calls("POST", "PUT", "PATCH", "DELETE")

    def client(self) -> Client:
        settings = PlatformSettings(base_url="http://platform.test", api_key=KEY, listing_window_s=0.0)
        return Client(settings, transport=httpx.MockTransport(self.answer), jitter=lambda: 0.0)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        if request.url.path not in ("/capabilities", "/instance-types"):
            self.requests.append(request)
        fault = next((one for one in self._faults if self._hits(one, request)), None)
        if fault is not None:
            fault.times -= 1
        reply = fault.reply if fault is not None and not fault.is_after else self._serve(request)
        if fault is not None:
            reply = fault.reply
        if reply.pause_s:
            await asyncio.sleep(reply.pause_s)
        if reply.error is not None:
            raise reply.error
        return httpx.Response(reply.status, content=reply.content, headers=reply.headers)

    def _hits(self, fault: Fault, request: httpx.Request) -> bool:
        is_route = fault.method == request.method and re.fullmatch(fault.path, request.url.path) is not None
        return is_route and fault.times > 0

    def _serve(self, request: httpx.Request) -> Reply:
        self._purge()
        body = json.loads(request.content) if request.content else {}
        for method, pattern, handler in self._routes():
            match = re.fullmatch(pattern, request.url.path)
            if match and method == request.method:
                return handler(request, body, *match.groups())
        return Reply(404, b"404 page not found")

    def _routes(self) -> tuple[tuple[str, str, Callable[..., Reply]], ...]:
        common = (
            ("GET", "/instance-types", lambda *_: ok([])),
            ("GET", "/instances", lambda request, _: self._listed(request, self.instances)),
            ("GET", "/instances/([^/]+)", lambda *asked: self._one(self.instances, "instance", asked[-1])),
            ("GET", "/vpcs", lambda *_: ok([{"id": one, "name": one[-4:]} for one in self.vpcs])),
            ("GET", "/lb", lambda request, _: self._listed(request, self.balancers)),
            ("GET", "/lb/([^/]+)", lambda *asked: self._one(self.balancers, "load_balancer", asked[-1])),
        )
        if self.tier == "strict":
            return (
                *common,
                ("POST", "/lb", self._strict_create),
                ("DELETE", "/lb/([^/]+)", self._strict_delete),
                ("GET", "/lb/([^/]+)/targets", lambda *asked: ok(list(self.targets.get(asked[-1], {}).values()))),
                ("POST", "/lb/([^/]+)/targets", self._strict_add),
                ("DELETE", "/lb/([^/]+)/targets/([^/]+)", self._strict_remove),
            )
        tier = {"tier": "extended", "features": list(self.features)}
        return (
            *common,
            ("GET", "/capabilities", lambda *_: ok(tier)),
            ("POST", "/lb", self._create),
            ("PUT", "/lb/([^/]+)/groups/([^/]+)", self._put_group),
            ("DELETE", "/lb/([^/]+)/groups/([^/]+)", self._delete_group),
            ("PATCH", "/lb/([^/]+)", self._modify),
            ("DELETE", "/lb/([^/]+)", lambda request, _, ref: self._delete(request, self.balancers, ref)),
            ("GET", "/certificates", lambda request, _: self._listed(request, self.certificates)),
            ("GET", "/certificates/([^/]+)", lambda *asked: self._one(self.certificates, "certificate", asked[-1])),
            ("POST", "/certificates", self._create_certificate),
            ("DELETE", "/certificates/([^/]+)", lambda request, _, ref: self._delete(request, self.certificates, ref)),
        )

    def _missing(self, kind: str, ref: str) -> Reply:
        if self.tier == "strict":
            return failure(404, "LB_NOT_FOUND" if kind == "load_balancer" else "NOT_FOUND")
        return failure(404, "NOT_FOUND", resource=kind, id=ref)

    def _one(self, rows: dict[str, Row], kind: str, ref: str) -> Reply:
        return ok(rows[ref]) if ref in rows else self._missing(kind, ref)

    def _listed(self, request: httpx.Request, rows: dict[str, Row]) -> Reply:
        asked = request.url.params
        found = [
            row
            for row in rows.values()
            if asked.get("name", row["name"]) == row["name"] and _carries(row, asked.get("tag"))
        ]
        if self.tier == "strict":
            return ok(list(rows.values()) or None)
        etag = '"' + hashlib.sha256(json.dumps(found).encode()).hexdigest()[:12] + '"'
        if request.headers.get("If-None-Match") == etag:
            return Reply(304, b"", {"ETag": etag})
        return Reply(200, ok(found).content, {"ETag": etag})

    def _delete(self, request: httpx.Request, rows: dict[str, Row], ref: str) -> Reply:
        if ref not in rows:
            return self._missing("load_balancer" if rows is self.balancers else "certificate", ref)
        if not _carries(rows[ref], request.url.params.get("tag")):
            return failure(412, "PRECONDITION_FAILED")
        del rows[ref]
        return ok({"message": "deleted"})

    def _create(self, request: httpx.Request, body: Row) -> Reply:
        key = request.headers["Idempotency-Key"]
        for row in self.balancers.values():
            if row["key"] == key:
                return ok(row, 202) if row["body"] == body else failure(409, "CONFLICT", reason="key_reused")
        lb_id = uuid_of(next(self._numbers))
        self.balancers[lb_id] = {
            "id": lb_id, "name": body["name"], "status": "CREATING", "version": 1, "tags": body.get("tags", {}),
            "vpc_id": body.get("vpc_id", VPC_ID), "internal": body.get("internal", False),
            "size": body.get("size", "small"), "families": body.get("families", ["ipv4"]),
            "addresses": [{"address": "203.0.113.7", "family": "ipv4"}], "groups": body.get("groups", []),
            "key": key, "body": body,
        }  # fmt: skip
        return ok(self.balancers[lb_id], 202)

    def _put_group(self, _: httpx.Request, body: Row, ref: str, name: str) -> Reply:
        if ref not in self.balancers:
            return self._missing("load_balancer", ref)
        for target in body.get("targets", ()):
            if target["instance_id"] not in self.instances:
                return failure(400, "INVALID_INPUT", instance_id=target["instance_id"])
        row = self.balancers[ref]
        old = next((one for one in row["groups"] if one["name"] == name), {"listeners": [], "targets": []})
        row["groups"] = [one for one in row["groups"] if one["name"] != name] + [{**old, **body, "name": name}]
        return ok(row)

    def _delete_group(self, _: httpx.Request, __: Row, ref: str, name: str) -> Reply:
        if ref not in self.balancers:
            return self._missing("load_balancer", ref)
        row = self.balancers[ref]
        row["groups"] = [one for one in row["groups"] if one["name"] != name]
        return ok(row)

    def _modify(self, _: httpx.Request, body: Row, ref: str) -> Reply:
        row = self.balancers[ref]
        tags = {key: value for key, value in {**row["tags"], **body.pop("tags", {})}.items() if value}
        row.update(body, tags=tags)
        return ok(row)

    def _create_certificate(self, request: httpx.Request, body: Row) -> Reply:
        key = request.headers["Idempotency-Key"]
        for row in self.certificates.values():
            if row["key"] == key:
                return ok(row, 201)
        made = {"id": uuid_of(next(self._numbers)), "name": body["name"], "tags": body["tags"], "key": key}
        made["fingerprint_sha256"] = hashlib.sha256(body["certificate_pem"].encode()).hexdigest()
        self.certificates[made["id"]] = made
        return ok(made, 201)

    def _strict_create(self, request: httpx.Request, body: Row) -> Reply:
        key = request.headers.get("Idempotency-Key", "")
        for row in self.balancers.values():
            if row["idempotency_key"] == key:
                return ok(row, 202) if key else raw_500()
        if len(key) > 64:
            return raw_500()
        if body["vpc_id"] not in self.vpcs:
            return failure(404, "NOT_FOUND")
        lb_id = uuid_of(next(self._numbers))
        made = {"id": lb_id, "status": "CREATING", "idempotency_key": key, "algorithm": "round-robin"} | body
        self.balancers[lb_id] = made
        return ok(made, 202)

    def _strict_delete(self, _: httpx.Request, __: Row, ref: str) -> Reply:
        if ref not in self.balancers:
            return self._missing("load_balancer", ref)
        self.balancers[ref]["status"] = "DELETED"
        self._dead_since.setdefault(ref, asyncio.get_running_loop().time())
        return ok({"message": "load balancer deletion initiated"})

    def _strict_add(self, _: httpx.Request, body: Row, ref: str) -> Reply:
        if ref not in self.balancers:
            return self._missing("load_balancer", ref)
        instance = self.instances.get(body["instance_id"])
        if instance is None:
            return self._missing("instance", body["instance_id"])
        if instance.get("vpc_id") != self.balancers[ref]["vpc_id"]:
            return failure(400, "LB_CROSS_VPC")
        if body["instance_id"] in self.targets.setdefault(ref, {}):
            return raw_500()
        self.targets[ref][body["instance_id"]] = dict(body)
        return ok({"message": "target added"}, 201)

    def _strict_remove(self, _: httpx.Request, __: Row, ref: str, instance_id: str) -> Reply:
        if self.targets.get(ref, {}).pop(instance_id, None) is None:
            return failure(404, "NOT_FOUND")
        return ok({"message": "target removed"})

    def _purge(self) -> None:
        for lb_id, since in list(self._dead_since.items()):
            if asyncio.get_running_loop().time() >= since + self.purge_after_s:
                del self._dead_since[lb_id], self.balancers[lb_id]
                self.targets.pop(lb_id, None)


def _carries(row: Row, tag: str | None) -> bool:
    if tag is None:
        return True
    key, _, value = tag.partition(":")
    return row.get("tags", {}).get(key) == value
