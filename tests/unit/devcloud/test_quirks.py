"""Every quirk of the published platform, by the number that it has in `devcloud.api.quirks`."""

import re
from pathlib import Path

import httpx
import pytest

from devcloud.api import quirks
from devcloud.faults import Kind
from devcloud.rows import STOPPED
from tests.support.devcloud import LossyTransport, devcloud_app
from tests.unit.devcloud.conftest import Site

RAW = {"type": "INTERNAL", "message": "An unexpected error occurred", "code": "INTERNAL"}
NOWHERE = "7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11"
PASSWORD = "correct-Horse-7-battery"


async def log_in_another(site: Site, role: str | None = "developer") -> httpx.AsyncClient:
    """Give a client of another user; `role` None: in a tenant of its own, else a member of the seeded tenant."""
    account = {"email": "other@example.org", "password": PASSWORD}
    user = await site.data("POST", "/auth/register", json={**account, "name": "Other"})
    key = (await site.data("POST", "/auth/login", json=account))["api_key"]
    headers = {"X-API-Key": key}
    if role is not None:
        tenant = (await site.data("GET", "/tenants"))[0]["id"]
        body = {"email": user["email"], "role": role}
        await site.data("POST", f"/tenants/{tenant}/members", json=body)
        headers["X-Tenant-ID"] = tenant
    return httpx.AsyncClient(transport=LossyTransport(site.inside.app), base_url=site.inside.base_url, headers=headers)


def test_every_quirk_has_a_test() -> None:
    texts = [path.read_text() for path in Path(__file__).parent.glob("test_quirks*.py")]
    tested = {int(number) for text in texts for number in re.findall(r"def test_q(\d+)_", text)}

    assert tested == {quirk.number for quirk in quirks.QUIRKS}


async def test_q01_unknown_path_and_wrong_method_are_404_in_plain_text(both: Site) -> None:
    for method, path in (("GET", "/nowhere"), ("PUT", "/volumes"), ("HEAD", "/volumes")):
        answer = await both.call(method, path)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/plain")
        assert method == "HEAD" or answer.text == "404 page not found"


async def test_q02_trailing_slash_is_redirected(both: Site) -> None:
    got = await both.call("GET", "/volumes/?name=x")
    posted = await both.call("POST", "/volumes/", json={"name": "vol-one", "size_gb": 1})

    assert (got.status_code, got.headers["location"]) == (301, f"{both.inside.base_url}/volumes?name=x")
    assert (posted.status_code, posted.headers["location"]) == (307, f"{both.inside.base_url}/volumes")


async def test_q03_panic_is_an_empty_500(strict: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("devcloud.api.views.view_event", fail)
    await strict.make_volume()

    answer = await strict.call("GET", "/events")

    assert (answer.status_code, answer.content) == (500, b"")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b'"x"', b"{", b'{"name":"vol-one"}', b'{"name":5,"size_gb":1}',
        b'{"name":"vol-one","size_gb":"1"}', b'{"name":"vol-one","size_gb":1.0}', b'{"name":"vol-one","size_gb":1.5}',
        b'{"name":"vol-one","size_gb":true}', b'{"name":"vol-one","size_gb":0}', b'{"name":"vol-one","size_gb":16001}',
        b'{"name":"vol-one","size_gb":99999999999999999999}', b'{"name":"vo","size_gb":1}',
        b'{"name":null,"size_gb":1}',
        b'{"name":"vol-one","size_gb":NaN}', b'{"name":"' + b"n" * 65 + b'","size_gb":1}', b"[" * 100_000,
    ],
)  # fmt: skip
async def test_q04_undecodable_bodies_are_400(strict: Site, body: bytes) -> None:
    error = await strict.error(400, "POST", "/volumes", content=body)

    assert error == {"type": "INVALID_INPUT", "message": "invalid request body", "code": "INVALID_INPUT"}
    assert (await strict.call("GET", "/volumes")).json()["data"] is None


async def test_q04_unknown_fields_and_what_follows_the_body_are_ignored(strict: Site) -> None:
    body = b' {"NAME":"vol-\xff","size_gb":1,"tags":5,"zone":null} and more'

    made = await strict.data("POST", "/volumes", content=body)

    assert made["name"] == "vol-\N{REPLACEMENT CHARACTER}"


async def test_q05_empty_list_is_null(strict: Site) -> None:
    for path in ("/volumes", "/snapshots", "/ssh-keys", "/images", "/events"):
        assert (await strict.call("GET", path)).json()["data"] is None


async def test_q06_errors_have_no_details(strict: Site) -> None:
    error = await strict.error(404, "GET", f"/instances/{NOWHERE}")

    assert error == {"type": "NOT_FOUND", "message": "instance not found", "code": "NOT_FOUND"}


async def test_q07_key_routes_fail_with_500_where_400_is_meant(strict: Site) -> None:
    assert await strict.error(500, "POST", "/auth/keys", json={}) == RAW
    assert await strict.error(500, "DELETE", "/auth/keys/mine") == RAW


async def test_q08_rate_limit_is_a_string_error_in_one_bucket_for_all_keys(tmp_path: Path) -> None:
    async with devcloud_app(tmp_path, tier="strict", rate_limit_rps=0.001) as inside, inside.client() as client:
        # A burst of twice the rate is less than one request here.
        answer = await client.get("/health/live")
        other = await client.get("/health/live", headers={"X-API-Key": "thecloud_" + "0" * 32})

    assert (answer.status_code, answer.json()) == (429, {"error": "rate limit exceeded"})
    assert "retry-after" not in answer.headers
    assert other.status_code == 429


async def test_q09_filters_are_ignored(strict: Site) -> None:
    volume = await strict.make_volume()
    await strict.data("POST", "/snapshots", json={"volume_id": volume["id"]})

    assert len(await strict.data("GET", "/volumes?name=other")) == 1
    assert len(await strict.data("GET", f"/snapshots?volume_id={NOWHERE}")) == 1


async def test_q10_idempotency_key_is_ignored(strict: Site) -> None:
    volume = await strict.make_volume()
    key = {"Idempotency-Key": "one"}

    first = await strict.data("POST", "/snapshots", json={"volume_id": volume["id"]}, headers=key)
    second = await strict.data("POST", "/snapshots", json={"volume_id": volume["id"]}, headers=key)

    assert first["id"] != second["id"]


async def test_q11_snapshots_belong_to_the_user_and_volumes_to_the_tenant(strict: Site) -> None:
    volume = await strict.make_volume()
    snapshot = await strict.data("POST", "/snapshots", json={"volume_id": volume["id"]})
    async with await log_in_another(strict) as other:
        assert [item["id"] for item in (await other.get("/volumes")).json()["data"]] == [volume["id"]]
        assert (await other.get("/snapshots")).json()["data"] is None
        assert (await other.get(f"/snapshots/{snapshot['id']}")).status_code == 500


async def test_q12_terminate_takes_a_name_for_an_id(strict: Site) -> None:
    victim = strict.node_a
    await strict.data("POST", "/instances", json={"name": victim, "image": "img"})

    await strict.data("DELETE", f"/instances/{victim}")

    assert victim in {item["id"] for item in await strict.data("GET", "/instances")}
    assert victim not in {item["name"] for item in await strict.data("GET", "/instances")}


async def test_q13_private_ip_has_a_prefix_length(strict: Site) -> None:
    found = await strict.data("GET", f"/instances/{strict.node_a}")

    assert re.fullmatch(r"10\.0\.\d+\.\d+/32", found["private_ip"])


async def test_q14_malformed_ports_are_500_with_a_type_of_their_own(strict: Site) -> None:
    launch = {"name": "web", "image": "img"}

    malformed = await strict.error(500, "POST", "/instances", json={**launch, "ports": "80:70000"})
    many = await strict.error(409, "POST", "/instances", json={**launch, "ports": ",".join(["0:80"] * 11)})

    assert (malformed["type"], many["type"]) == ("INVALID_PORT_FORMAT", "TOO_MANY_PORTS")


async def test_q15_instance_resize_stores_nothing(both: Site) -> None:
    answer = await both.data("POST", f"/instances/{both.node_a}/resize", json={"instance_type": "standard-1"})

    assert answer["instance_type"] == "standard-1"
    assert (await both.data("GET", f"/instances/{both.node_a}"))["instance_type"] == "basic-2"


async def test_q16_paths_are_a_constant(strict: Site) -> None:
    first, second = await strict.make_volume("vol-one"), await strict.make_volume("vol-two")
    attached = (await strict.attach(first, strict.node_a)).json()["data"]

    assert {first["backend_path"], second["backend_path"], attached["device_path"]} == {"vol-1"}
    assert attached == {"message": "volume attached", "device_path": "vol-1"}


@pytest.mark.parametrize("ref", [NOWHERE, "nobody"])
async def test_q17_missing_volume_is_500(strict: Site, ref: str) -> None:
    body = {"instance_id": strict.node_a, "mount_path": "/x"}

    assert await strict.error(500, "GET", f"/volumes/{ref}") == RAW
    assert await strict.error(500, "DELETE", f"/volumes/{ref}") == RAW
    assert await strict.error(500, "POST", f"/volumes/{ref}/attach", json=body) == RAW
    assert await strict.error(500, "POST", f"/volumes/{ref}/detach") == RAW


async def test_q18_name_of_any_tenant_is_500(strict: Site) -> None:
    await strict.make_volume()
    async with await log_in_another(strict, role=None) as other:
        answer = await other.post("/volumes", json={"name": "vol-one", "size_gb": 1})
        assert (answer.status_code, answer.json()["error"]) == (500, RAW)
        assert (await other.get("/volumes")).json()["data"] is None
    assert len(list(strict.inside.disks_dir.iterdir())) == 1


async def test_q19_deleting_an_attached_volume_is_400(strict: Site) -> None:
    volume = await strict.make_volume()
    await strict.attach(volume, strict.node_a)

    error = await strict.error(400, "DELETE", f"/volumes/{volume['id']}")

    assert error["message"] == "cannot delete volume that is in use"


async def test_q20_deleting_a_volume_deletes_its_snapshots(strict: Site) -> None:
    volume = await strict.make_volume()
    await strict.data("POST", "/snapshots", json={"volume_id": volume["id"]})
    await strict.inside.cloud.tasks.drain()

    await strict.data("DELETE", f"/volumes/{volume['id']}")

    assert (await strict.call("GET", "/snapshots")).json()["data"] is None
    assert not list(strict.inside.cloud.settings.snapshots_dir.iterdir())


async def test_q21_attaching_again_is_409_also_for_the_same_instance(strict: Site) -> None:
    volume = await strict.make_volume()
    assert (await strict.attach(volume, strict.node_a)).status_code == 200

    for instance in (strict.node_a, strict.node_b):
        answer = await strict.attach(volume, instance)
        assert answer.status_code == 409
        assert answer.json()["error"]["message"] == "volume is already attached to an instance"


async def test_q22_order_of_checks_in_attach(strict: Site) -> None:
    free, taken = await strict.make_volume("vol-free"), await strict.make_volume("vol-taken")
    await strict.attach(taken, strict.node_a)

    assert (await strict.attach({"id": NOWHERE}, "no-uuid")).status_code == 500
    assert (await strict.attach(taken, "no-uuid")).status_code == 409
    assert (await strict.attach(free, "no-uuid")).status_code == 400
    assert (await strict.attach(free, NOWHERE)).json()["error"] == RAW
    assert (await strict.data("GET", f"/volumes/{free['id']}"))["status"] == "AVAILABLE"


async def test_q23_attach_asks_neither_for_tenant_nor_for_state(strict: Site) -> None:
    await strict.data("POST", f"/instances/{strict.node_b}/stop")
    volume = await strict.make_volume()
    assert (await strict.attach(volume, strict.node_b)).status_code == 200
    async with await log_in_another(strict, role=None) as other:
        await other.post("/volumes", json={"name": "vol-other", "size_gb": 1})
        body = {"instance_id": strict.node_a, "mount_path": "/x"}
        assert (await other.post("/volumes/vol-other/attach", json=body)).status_code == 200
    assert (await strict.data("GET", f"/instances/{strict.node_b}"))["status"] == STOPPED


async def test_q24_the_last_of_two_attaches_wins_and_both_are_told_200(strict: Site) -> None:
    volume = await strict.make_volume()
    strict.trouble(Kind.ATTACH_RACE, "/volumes/{ref}/attach", "POST", instance_id=strict.node_b)

    answer = await strict.attach(volume, strict.node_a)

    assert answer.status_code == 200
    assert (await strict.data("GET", f"/volumes/{volume['id']}"))["instance_id"] == strict.node_b


async def test_q25_detach_takes_the_volume_from_whoever_holds_it(strict: Site) -> None:
    volume = await strict.make_volume()
    await strict.attach(volume, strict.node_b)

    await strict.data("POST", f"/volumes/{volume['id']}/detach", json={"instance_id": strict.node_a})

    assert (await strict.data("GET", f"/volumes/{volume['id']}"))["status"] == "AVAILABLE"


async def test_q26_detaching_a_free_volume_is_400(strict: Site) -> None:
    volume = await strict.make_volume()

    error = await strict.error(400, "POST", f"/volumes/{volume['id']}/detach")

    assert error["message"] == "volume is not attached"


async def test_q27_wedged_volume_refuses_everything(strict: Site) -> None:
    volume = await strict.make_volume()
    await strict.data("POST", f"/_devcloud/volumes/{volume['id']}/wedge", json={})

    seen = await strict.data("GET", f"/volumes/{volume['id']}")
    assert (seen["status"], seen.get("instance_id")) == ("IN-USE", None)
    assert (await strict.attach(volume, strict.node_a)).status_code == 409
    assert (await strict.call("POST", f"/volumes/{volume['id']}/detach")).status_code == 400
    assert (await strict.call("DELETE", f"/volumes/{volume['id']}")).status_code == 400
    await strict.data("POST", f"/_devcloud/volumes/{volume['id']}/wedge", json={"wedged": False})
    assert (await strict.call("DELETE", f"/volumes/{volume['id']}")).status_code == 200


async def test_q28_snapshot_is_creating_first_and_after_a_restart_for_ever(tmp_path: Path) -> None:
    async with devcloud_app(tmp_path, tier="strict", snapshot_delay_s=3600.0) as inside, inside.client() as client:
        volume = (await client.post("/volumes", json={"name": "vol-one", "size_gb": 1})).json()["data"]
        made = (await client.post("/snapshots", json={"volume_id": volume["id"]})).json()["data"]
        assert made["status"] == "CREATING"
    async with devcloud_app(tmp_path, tier="strict") as inside, inside.client() as client:
        await inside.cloud.tasks.drain()
        assert (await client.get(f"/snapshots/{made['id']}")).json()["data"]["status"] == "CREATING"
        second = (await client.post("/snapshots", json={"volume_id": volume["id"]})).json()["data"]
        await inside.cloud.tasks.drain()
        assert (await client.get(f"/snapshots/{second['id']}")).json()["data"]["status"] == "AVAILABLE"
        refused = await client.post(f"/snapshots/{made['id']}/restore", json={"new_volume_name": "restored"})
        assert refused.status_code == 400


async def test_q29_missing_snapshot_and_snapshot_of_a_missing_volume_are_500(strict: Site) -> None:
    restore = {"new_volume_name": "restored"}

    assert await strict.error(500, "GET", f"/snapshots/{NOWHERE}") == RAW
    assert await strict.error(500, "DELETE", f"/snapshots/{NOWHERE}") == RAW
    assert await strict.error(500, "POST", f"/snapshots/{NOWHERE}/restore", json=restore) == RAW
    assert await strict.error(500, "POST", "/snapshots", json={"volume_id": NOWHERE}) == RAW
    assert (await strict.error(400, "GET", "/snapshots/no-uuid"))["type"] == "INVALID_INPUT"


async def test_q30_snapshot_shows_its_tenant_in_the_create_answer_only(strict: Site) -> None:
    volume = await strict.make_volume()

    made = await strict.data("POST", "/snapshots", json={"volume_id": volume["id"]})

    assert made["tenant_id"] == volume["tenant_id"]
    assert "tenant_id" not in await strict.data("GET", f"/snapshots/{made['id']}")


async def test_q31_restore_gives_an_empty_volume_of_the_same_size(strict: Site) -> None:
    volume = await strict.make_volume(size_gb=2)
    disks = strict.inside.cloud.volumes
    disks.path(volume["id"].replace("-", "")[:20]).write_bytes(b"content")
    snapshot = await strict.data("POST", "/snapshots", json={"volume_id": volume["id"]})
    await strict.inside.cloud.tasks.drain()

    made = await strict.data("POST", f"/snapshots/{snapshot['id']}/restore", json={"new_volume_name": "restored"})

    assert made["size_gb"] == 2
    assert disks.allocated_bytes(made["id"].replace("-", "")[:20]) == 0


async def test_q32_health_is_503_without_a_replica(strict: Site) -> None:
    for path in ("/health", "/health/ready"):
        answer = await strict.call("GET", path)
        assert (answer.status_code, answer.json()["status"]) == (503, "DEGRADED")
        assert answer.json()["checks"]["database_replica"] == "NOT_CONFIGURED"
    assert (await strict.call("GET", "/health/live")).json() == {"status": "ok"}
