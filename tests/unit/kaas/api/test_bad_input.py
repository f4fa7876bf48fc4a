"""Everything that is wrong is a typed 4xx that names its fields, and nothing is created."""

import json
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaas.domain.store import Amounts
from tests.unit.kaas.api.rig import GREEN, VPC, FakeNetworks, Rig, fields_of, serving, without_vpc

OTHER_VPC = "00000000-4a3f-4be2-9a35-0b7f6a9b0c01"
INJECTIONS = ["dev;reboot", "$(id)", "`id`", "dev\nruncmd:", "{{ x }}", "../dev", "dev' OR 1=1", "dev\x00", '"', "%0a"]


@pytest_asyncio.fixture(loop_scope="session")
async def before(shared: Rig) -> list[int]:
    return await shared.counts()


async def refused(rig: Rig, fields: list[str], body: Any) -> None:
    answer = await rig.ask("POST", "/clusters", body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("INVALID_INPUT", "INVALID")
    assert fields_of(answer) == fields
    assert answer.json()["meta"]["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("name", ["", "Dev", "-dev", "d" * 41, "d" * 256, "dev_1", VPC, *INJECTIONS]),
        ("vpc_id", ["vpc-1", "../x"]),
        ("version", ["v1.99.0", "latest", "1.29", "v1.27.0", "v1.29.0 ; id"]),
        ("workers", [0, -1, 10**6, 10**9, 10**12, 1.5, "2", True, [], {}]),
        ("pod_cidr", ["10.0.0.0/24", "fd00::/48", "x", "10.77.0.0/16", "1.2.3.4/8"]),
        ("service_cidr", ["10.0.0.0/8", "10.0.0.0/30", "fd00::/108", "127.0.0.0/16", "192.168.0.0/16"]),
        ("cni", ["weave", "Calico", "flannel; id"]),
        ("ha", ["yes", 1, None]),
        ("control_plane_type", ["basic-1"]),
        ("worker_type", ["none"]),
        ("colour", ["blue"]),
        ("tenant_id", [GREEN]),
        ("zones", [["a b"]]),
        ("node_groups", [{}, [1], [{"name": "gpu", "size": 1}], [{"name": "gpu", "max_size": 0}]]),
        ("access", [{"api": ["::/0"]}, {"api": []}, {"everything": True}]),
    ],
)
async def test_a_field_that_is_wrong(shared: Rig, before: list[int], field: str, values: list[Any]) -> None:
    for value in values:
        answer = await shared.ask("POST", "/clusters", {"name": "dev", field: value})
        assert answer.status_code == 400, answer.text
        [seen] = fields_of(answer)
        assert seen.startswith(field)
    assert await shared.counts() == before


async def test_all_problems_at_once_and_one_for_each_field(shared: Rig, before: list[int]) -> None:
    body = {"name": "X", "version": "z", "workers": 0, "pod_cidr": "p", "service_cidr": "s", "cni": "c", "vpc_id": "v"}
    await refused(shared, ["name", "vpc_id", "version", "cni", "workers", "pod_cidr", "service_cidr"], body)
    await refused(shared, ["name", "workers", "nodes", "size"], {"name": 1, "workers": "x", "nodes": 3, "size": 1})
    assert await shared.counts() == before


async def test_nothing_of_a_label_or_taint_gets_to_a_shell(shared: Rig, before: list[int]) -> None:
    for text in INJECTIONS:
        groups = [{"name": "gpu", "labels": {text: text}, "taints": [{"key": text, "value": text, "effect": text}]}]
        answer = await shared.ask("POST", "/clusters", {"name": "dev", "node_groups": groups})
        assert answer.status_code == 400
        assert fields_of(answer)[-3:] == [f"node_groups[0].taints[0].{part}" for part in ("key", "value", "effect")]
    assert await shared.counts() == before


async def test_a_body_that_is_no_object(shared: Rig, before: list[int]) -> None:
    bodies = (
        b"",
        b"{",
        b"null",
        b"[]",
        b'"dev"',
        b"3",
        b"\xff\xfe",
        b'{"name": "dev"',
        b'{"name": NaN}',
        b"{'name': 1}",
    )
    for body in (*bodies, b'{"workers": ' + b"9" * 5000 + b"}", b'{"name": "\\ud800"}', b"[" * 20_000):
        answer = await shared.ask("POST", "/clusters", body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["code"] == "INVALID"
    assert await shared.counts() == before


async def test_a_body_that_is_too_large(shared: Rig, before: list[int]) -> None:
    body = json.dumps({"name": "d" * 70_000}).encode()
    answer = await shared.ask("POST", "/clusters", body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "OBJECT_TOO_LARGE")

    async def parts() -> Any:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    headers = {"X-API-Key": "key-of-ada", "Content-Type": "application/json"}
    answer = await shared.http.post("/clusters", content=parts(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "OBJECT_TOO_LARGE")
    assert await shared.counts() == before


async def test_a_vpc_is_looked_up_where_somebody_can(tmp_path: Path, empty: Path) -> None:
    async with serving(tmp_path, empty, networks=FakeNetworks("10.0.0.0/16"), defaults=without_vpc()) as rig:
        await refused(rig, ["vpc_id"], {"name": "dev"})
        answer = await rig.ask("POST", "/clusters", {"name": "dev", "vpc_id": OTHER_VPC})
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "NOT_FOUND")
        answer = await rig.ask("POST", "/clusters", {"name": "dev", "vpc_id": VPC}, tenant=GREEN)
        assert answer.status_code == 404
        await refused(rig, ["pod_cidr"], {"name": "dev", "vpc_id": VPC, "pod_cidr": "10.0.0.0/16"})
        assert (await rig.ask("POST", "/clusters", {"name": "dev", "vpc_id": VPC})).status_code == 202


async def test_the_range_of_the_default_vpc_counts_as_well(tmp_path: Path, empty: Path) -> None:
    async with serving(tmp_path, empty, networks=FakeNetworks("192.168.0.0/20")) as rig:
        await refused(rig, ["pod_cidr"], {"name": "dev"})
        await refused(rig, ["name", "vpc_id"], {"name": "X", "vpc_id": "../x"})


async def test_a_quota_that_is_used_up(tmp_path: Path, empty: Path) -> None:
    async with serving(tmp_path, empty, quota=Amounts(clusters=9, nodes=4, vcpus=99, memory_mb=999_999)) as rig:
        answer = await rig.ask("POST", "/clusters", {"name": "dev", "workers": 4})
        assert (answer.status_code, answer.json()["error"]["type"]) == (429, "QUOTA_EXCEEDED")
        assert answer.json()["error"]["code"] == "QUOTA"
        assert await rig.clusters() == []
        await rig.running("dev", workers=3)
        assert (await rig.ask("PUT", "/clusters/dev/scale", {"workers": 4})).status_code == 429
        assert (await rig.snapshot("dev")).cluster.generation == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "scale", {"workers": 0}, "workers"),
        ("PUT", "scale", {"workers": -3}, "workers"),
        ("PUT", "scale", {"workers": 10**6}, "workers"),
        ("PUT", "scale", {}, "workers"),
        ("PUT", "scale", {"workers": 2, "force": True}, "force"),
        ("POST", "nodegroups", {"name": "GPU"}, "name"),
        ("POST", "nodegroups", {"name": "gpu", "desired_size": -1}, "min_size"),
        ("POST", "nodegroups", {"name": "gpu", "max_size": 10**6}, "max_size"),
        ("POST", "nodegroups", {"name": "gpu", "current_size": 2}, "current_size"),
        ("PUT", "nodegroups/default-pool", {}, "desired_size"),
        ("PUT", "nodegroups/default-pool", {"labels": {"a": "b"}}, "labels"),
        ("POST", "upgrade", {"version": "v1.28.4"}, "version"),
        ("POST", "upgrade", {"version": "v1.29.0"}, "version"),
        ("POST", "upgrade", {"version": "v1.36.3"}, "version"),
        ("POST", "upgrade", {"version": "newest"}, "version"),
        ("POST", "upgrade", {}, "version"),
        ("POST", "restore", {"backup_path": ""}, "backup_path"),
        ("PUT", "backup-policy", {}, "schedule"),
        ("PUT", "backup-policy", {"retention_days": 0}, "retention_days"),
        ("DELETE", "?volumes=maybe", None, "volumes"),
        ("GET", "kubeconfig?role=root", None, "role"),
        ("GET", "kubeconfig?expires_in=0", None, "expires_in"),
        ("GET", "kubeconfig?expires_in=soon", None, "expires_in"),
        ("GET", "events?after=x", None, "after"),
        ("GET", "events?limit=0", None, "limit"),
        ("GET", "events?limit=1001", None, "limit"),
    ],
)
async def test_a_change_that_is_wrong_changes_nothing(
    shared: Rig, method: str, path: str, body: Any, field: str
) -> None:
    before = await shared.counts()
    slash = "" if path.startswith("?") else "/"
    answer = await shared.ask(method, f"/clusters/blue-dev{slash}{path}", body)
    assert answer.status_code == 400, answer.text
    assert field in {*fields_of(answer), *answer.json()["error"]["message"].split()}
    assert await shared.counts() == before


@pytest.mark.parametrize("path", ["", "/health", "/nodes", "/events", "/kubeconfig", "/ssh-key"])
async def test_what_is_not_there(shared: Rig, path: str) -> None:
    for ref in ("nope", VPC, "%00", "a" * 255, "%F0%9F%92%A9", "blue-dev%20", "blue-dev'--"):
        answer = await shared.ask("GET", f"/clusters/{ref}{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert (await shared.ask("GET", f"/clusters/..%2f..{path}")).status_code == 404


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {"name": st.text(max_size=50)},
        optional={
            "labels": st.dictionaries(st.text(max_size=70), st.text(max_size=70), max_size=3),
            "pod_cidr": st.one_of(st.text(max_size=20), st.ip_addresses(v=4).map(lambda ip: f"{ip}/16")),
            "zones": st.lists(st.text(max_size=70), max_size=3),
        },
    )
)
async def test_whatever_is_asked_the_answer_is_typed(shared: Rig, asked: dict[str, Any]) -> None:
    labels = asked.pop("labels", None)
    body = {**asked, "node_groups": [{"name": "gpu", "labels": labels}]} if labels is not None else asked
    answer = await shared.ask("POST", "/clusters?dry_run=plan", body)
    assert answer.status_code in {200, 400}, answer.text
    if answer.status_code == 400:
        assert fields_of(answer)
    assert await shared.clusters() == ["blue-dev"]
