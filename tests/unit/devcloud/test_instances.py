"""Instances, their types, ssh keys and images, in both tiers."""

from pathlib import Path

import pytest

from devcloud.settings import Quota
from tests.support.devcloud import devcloud_app
from tests.unit.devcloud.conftest import Site

NOWHERE = "7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11"
# A key made for this test; its secret half was never stored.
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEFtYWxnYW1hdGVkLXRlc3Qta2V5LTAwMDAwMDAw someone@example.org"


async def launch(site: Site, name: str = "web", **more: object) -> dict[str, object]:
    made: dict[str, object] = await site.data("POST", "/instances", json={"name": name, "image": "img", **more})
    return made


async def test_launch_starts_in_the_background(both: Site) -> None:
    made = await launch(both, labels={"pool": "a"}, metadata={"k": "v"})
    await both.inside.cloud.tasks.drain()
    seen = await both.data("GET", f"/instances/{made['id']}")

    assert (made["status"], seen["status"]) == ("STARTING", "RUNNING")
    assert (seen["instance_type"], seen["labels"], seen["metadata"]) == ("basic-2", {"pool": "a"}, {"k": "v"})
    assert seen["private_ip"].startswith("10.0.")
    assert "env" not in seen


async def test_addresses_differ(extended: Site) -> None:
    await launch(extended)
    await extended.inside.cloud.tasks.drain()

    addresses = [item["private_ip"] for item in await extended.data("GET", "/instances")]

    assert len(set(addresses)) == len(addresses) == 3
    assert not any("/" in address for address in addresses)


async def test_launch_with_volumes_attaches_them_or_ends_in_error(both: Site) -> None:
    volume = await both.make_volume()
    wanted = [{"volume_id": "vol-one", "mount_path": "/data"}]

    good = await launch(both, "good", volumes=wanted)
    await both.inside.cloud.tasks.drain()
    bad = await launch(both, "bad", volumes=wanted)
    await both.inside.cloud.tasks.drain()

    assert (await both.data("GET", f"/volumes/{volume['id']}"))["instance_id"] == good["id"]
    assert (await both.data("GET", f"/instances/{bad['id']}"))["status"] == "ERROR"


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "has space"},
        {"name": "n" * 65},
        {"name": "é" * 33},
        {"image": " "},
        {"image": "i" * 257},
        {"instance_type": "huge"},
        {"vpc_id": "no-uuid"},
        {"ssh_key_id": "no-uuid"},
        {"volumes": [{"volume_id": "v", "mount_path": "relative"}]},
        {"labels": {"a": 1}},
    ],
)
async def test_malformed_launch_is_400(both: Site, wrong: dict[str, object]) -> None:
    error = await both.error(400, "POST", "/instances", json={"name": "web", "image": "img", **wrong})

    assert error["type"] == "INVALID_INPUT"
    assert len(await both.data("GET", "/instances")) == 2


async def test_unknown_references_at_launch(both: Site) -> None:
    strict = both.inside.cloud.is_strict

    for field in ("vpc_id", "subnet_id"):
        await both.error(500 if strict else 404, "POST", "/instances", json={"name": "a", "image": "i", field: NOWHERE})
    await both.error(404, "POST", "/instances", json={"name": "a", "image": "i", "ssh_key_id": NOWHERE})
    await launch(both, subnet_id="malformed is ignored")


async def test_state_changes(both: Site) -> None:
    path = f"/instances/{both.node_a}"

    async def status() -> str:
        return str((await both.data("GET", path))["status"])

    assert (await both.call("POST", f"{path}/resume")).status_code == 409
    await both.data("POST", f"{path}/pause")
    assert await status() == "PAUSED"
    assert (await both.call("POST", f"{path}/pause")).status_code == 409
    assert (await both.error(409, "GET", f"{path}/stats"))["type"] == "INSTANCE_NOT_RUNNING"
    await both.data("POST", f"{path}/resume")
    for _ in range(2):
        await both.data("POST", f"{path}/stop")
    assert await status() == "STOPPED"


async def test_logs_stats_and_console(both: Site) -> None:
    logs = await both.call("GET", "/instances/node-a/logs")

    assert (logs.status_code, logs.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert (await both.data("GET", "/instances/node-a/stats"))["memory_limit_bytes"] == 1 << 30
    await both.error(500, "GET", "/instances/node-a/console")


async def test_labels_merge_and_select(both: Site) -> None:
    path = f"/instances/{both.node_a}"
    await both.data("POST", f"{path}/tags", json={"tags": {"pool": "a:b", "gone": "x"}})
    await both.data("PUT", f"{path}/metadata", json={"metadata": {"m": "1"}, "labels": {"gone": ""}})

    assert await both.data("GET", f"{path}/tags") == {"pool": "a:b"}
    assert [item["name"] for item in await both.data("GET", "/instances?tag=pool:a:b")] == ["node-a"]
    for _ in range(2):
        await both.data("DELETE", f"{path}/tags/pool")
    assert await both.data("GET", f"{path}/tags") == {}
    await both.error(400, "GET", "/instances/node-a/tags")
    await both.error(400, "POST", "/instances/node-a/tags", json={"tags": {}})


async def test_terminate_is_404_the_second_time(both: Site) -> None:
    await both.data("DELETE", "/instances/node-a")

    error = await both.error(404, "DELETE", "/instances/node-a")

    assert error["type"] == "NOT_FOUND"
    assert [item["name"] for item in await both.data("GET", "/instances")] == ["node-b"]


async def test_extended_instances_are_found_by_name_and_hostname(extended: Site) -> None:
    made = await launch(extended, hostname="web.example.org", zone="zone-1")

    for query in ("name=web", "hostname=web.example.org"):
        assert [item["id"] for item in await extended.data("GET", f"/instances?{query}")] == [made["id"]]
    assert (await extended.data("GET", "/instances?name=node-a"))[0]["hostname"] == "node-a"
    await extended.error(404, "POST", "/instances", json={"name": "a", "image": "i", "zone": "nowhere"})


async def test_strict_instances_have_no_extensions(strict: Site) -> None:
    seen = await strict.data("GET", "/instances/node-a")

    assert not {"zone", "hostname", "max_volumes"} & seen.keys()
    assert len(await strict.data("GET", "/instances?name=nobody")) == 2


@pytest.mark.parametrize(
    ("quota", "wanted", "resource"),
    [
        (Quota(instances=1), "basic-2", "instances"),
        (Quota(vcpus=2), "standard-1", "vcpus"),
        (Quota(memory_gb=2), "standard-1", "memory"),
    ],
)
async def test_quota_is_counted_and_given_back(tmp_path: Path, quota: Quota, wanted: str, resource: str) -> None:
    async with devcloud_app(tmp_path, quota=quota) as inside, inside.client() as client:
        site = Site(inside, client)
        await launch(site, "first", instance_type=wanted)
        body = {"name": "second", "image": "img", "instance_type": wanted}

        error = await site.error(429, "POST", "/instances", json=body)
        await site.data("DELETE", "/instances/first")
        again = await site.call("POST", "/instances", json=body)

    assert (error["type"], error["message"]) == ("QUOTA_EXCEEDED", f"quota exceeded for {resource}")
    assert again.status_code == 202


async def test_starting_instance_runs_after_a_restart(tmp_path: Path) -> None:
    async with devcloud_app(tmp_path, instance_start_s=3600.0) as inside, inside.client() as client:
        await launch(Site(inside, client))
    async with devcloud_app(tmp_path) as inside, inside.client() as client:
        await inside.cloud.tasks.drain()
        seen = await Site(inside, client).data("GET", "/instances/web")

    assert seen["status"] == "RUNNING"
    assert seen["private_ip"]


async def test_instance_types(both: Site) -> None:
    types = {item["id"]: item for item in await both.data("GET", "/instance-types")}

    assert len(types) == 7
    assert (types["standard-4"]["vcpus"], types["standard-4"]["memory_mb"]) == (4, 8192)


async def test_ssh_keys(both: Site) -> None:
    made = await both.data("POST", "/ssh-keys", json={"name": "mine", "public_key": PUBLIC_KEY})

    assert made["fingerprint"].startswith("SHA256:")
    assert (await both.call("POST", "/ssh-keys", json={"name": "mine", "public_key": PUBLIC_KEY})).status_code == 409
    for wrong in ("rubbish", "ssh-rsa " + PUBLIC_KEY.split()[1], "ssh-ed25519 %%%"):
        await both.error(400, "POST", "/ssh-keys", json={"name": "other", "public_key": wrong})
    assert (await both.data("GET", f"/ssh-keys/{made['id']}"))["name"] == "mine"
    assert (await launch(both, ssh_key_id=made["id"]))["ssh_key_id"] == made["id"]
    assert (await both.call("DELETE", f"/ssh-keys/{made['id']}")).status_code == 204
    await both.error(404, "GET", f"/ssh-keys/{made['id']}")


async def test_images(both: Site) -> None:
    made = await both.data("POST", "/images", json={"name": "debian", "os": "linux"})

    assert made["status"] == "PENDING"
    assert [item["id"] for item in await both.data("GET", "/images")] == [made["id"]]
    assert (await both.data("GET", f"/images/{made['id']}"))["os"] == "linux"
    assert (await both.call("DELETE", f"/images/{made['id']}")).status_code == 204
    await both.error(404, "DELETE", f"/images/{made['id']}")
    await both.error(400, "GET", "/images/no-uuid")
