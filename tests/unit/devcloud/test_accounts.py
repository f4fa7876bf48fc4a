"""Accounts, keys and tenants, and the checks of every request."""

from pathlib import Path

import pytest

from devcloud import identity
from devcloud.cloud import build
from devcloud.errors import UnauthorizedError
from devcloud.faults import Kind
from tests.support.devcloud import devcloud_app, make_settings
from tests.unit.devcloud.conftest import Site

PASSWORD = "correct-Horse-7-battery"
ACCOUNT = {"email": "other@example.org", "password": PASSWORD}
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB"
NOWHERE = "7d9a4a2e-8f3c-4f43-9d5e-0c8f5b1f7f11"
ZERO = "00000000-0000-0000-0000-000000000000"


async def register(site: Site) -> tuple[dict[str, str], dict[str, str]]:
    """Give another user and the headers of its first key."""
    user = await site.data("POST", "/auth/register", json={**ACCOUNT, "name": "Other One"})
    login = await site.data("POST", "/auth/login", json=ACCOUNT)
    assert login["user"]["id"] == user["id"]
    return user, {"X-API-Key": login["api_key"]}


async def test_registered_user_owns_a_tenant_of_its_own(both: Site) -> None:
    user, headers = await register(both)

    (tenant,) = await both.data("GET", "/tenants", headers=headers)

    assert (user["tenant_id"], user["default_tenant_id"], user["role"]) == (ZERO, tenant["id"], "developer")
    assert tenant["slug"].startswith("personal-other-one-")
    assert (await both.data("GET", "/auth/me", headers=headers))["email"] == ACCOUNT["email"]
    assert (await both.call("GET", "/volumes", headers=headers)).json()["data"] in (None, [])


@pytest.mark.parametrize(
    "wrong", [{"email": "no address"}, {"password": "short"}, {"password": "aaaaaaaaaaaaaaaaaaaa"}, {"name": "x"}]
)
async def test_malformed_registration_is_400(both: Site, wrong: dict[str, str]) -> None:
    await both.error(400, "POST", "/auth/register", json={**ACCOUNT, "name": "Other", **wrong})


async def test_known_address_is_409_and_wrong_password_401(both: Site) -> None:
    await register(both)

    await both.error(409, "POST", "/auth/register", json={**ACCOUNT, "name": "Other"})
    await both.error(401, "POST", "/auth/login", json={**ACCOUNT, "password": "wrong password"})
    await both.error(401, "POST", "/auth/login", json={"email": "admin@devcloud.invalid", "password": "x"})


async def test_five_failures_lock_the_address_for_a_while(tmp_path: Path) -> None:
    now = [1000.0]
    cloud = build(make_settings(tmp_path))
    await cloud.store.open()
    try:
        accounts = identity.Accounts(cloud, clock=lambda: now[0])
        await accounts.register("a@example.org", "Someone", PASSWORD)
        for _ in range(5):
            with pytest.raises(UnauthorizedError, match="invalid credentials"):
                await accounts.log_in("a@example.org", "wrong")
        with pytest.raises(UnauthorizedError, match="locked"):
            await accounts.log_in("a@example.org", PASSWORD)
        now[0] += 900
        assert (await accounts.log_in("a@example.org", PASSWORD))[0].email == "a@example.org"
    finally:
        await cloud.store.close()


async def test_key_is_shown_once_and_never_listed(both: Site) -> None:
    made = await both.data("POST", "/auth/keys", json={"name": "second"})

    listed = (await both.call("GET", "/auth/keys")).text

    assert made["key"].startswith("thecloud_")
    assert made["key"] not in listed
    assert both.inside.api_key not in listed
    assert '"key"' not in listed
    assert (await both.call("GET", "/auth/me", headers={"X-API-Key": made["key"]})).status_code == 200


async def test_no_key_lies_in_the_database(both: Site) -> None:
    made = await both.data("POST", "/auth/keys", json={"name": "second"})
    data_dir = both.inside.cloud.settings.data_dir

    content = b"".join(path.read_bytes() for path in data_dir.glob("state.db*"))

    assert made["id"].encode() in content
    assert made["key"].removeprefix("thecloud_").encode() not in content


async def test_rotated_and_revoked_keys_stop_working(both: Site) -> None:
    made = await both.data("POST", "/auth/keys", json={"name": "second"})

    rotated = await both.data("POST", f"/auth/keys/{made['id']}/rotate")
    assert (await both.call("GET", "/auth/me", headers={"X-API-Key": made["key"]})).status_code == 401
    assert (await both.call("GET", "/auth/me", headers={"X-API-Key": rotated["key"]})).status_code == 200
    assert (await both.call("DELETE", f"/auth/keys/{rotated['id']}")).status_code == 204
    assert (await both.call("GET", "/auth/me", headers={"X-API-Key": rotated["key"]})).status_code == 401
    gone = await both.error(404, "DELETE", f"/auth/keys/{rotated['id']}")
    assert gone["type"] == "OBJECT_NOT_FOUND"
    await both.error(404, "POST", f"/auth/keys/{NOWHERE}/regenerate")


async def test_keys_of_other_tenants_are_out_of_reach(both: Site) -> None:
    _, headers = await register(both)
    own = (await both.data("GET", "/auth/keys"))[0]

    await both.error(404, "DELETE", f"/auth/keys/{own['id']}", headers=headers)


async def test_credentials_are_needed(both: Site) -> None:
    async def message(headers: dict[str, str]) -> str:
        return str((await both.error(401, "GET", "/volumes", headers=headers))["message"])

    assert await message({"X-API-Key": ""}) == "API key or Bearer token required"
    assert await message({"X-API-Key": "thecloud_nobody"}) == "invalid API key"
    assert await message({"Authorization": "Bearer x"}) == "invalid access token"


async def test_tenant_header_chooses_and_is_checked(both: Site) -> None:
    tenant = await both.data("POST", "/tenants", json={"name": "Second", "slug": "second"})
    await both.make_volume()
    there = {"X-Tenant-ID": tenant["id"]}

    assert (await both.call("GET", "/volumes", headers=there)).json()["data"] in (None, [])
    await both.error(400, "GET", "/volumes", headers={"X-Tenant-ID": "no-uuid"})
    await both.error(403, "GET", "/volumes", headers={"X-Tenant-ID": NOWHERE})
    await both.error(409, "POST", "/tenants", json={"name": "Third", "slug": "second"})


async def test_key_without_a_tenant_reaches_no_member_routes(both: Site) -> None:
    await both.inside.cloud.store.write(lambda db: db.execute("UPDATE api_keys SET default_tenant_id = NULL"))

    error = await both.error(400, "GET", "/volumes")

    assert error["message"] == "X-Tenant-ID header required or default tenant not set"
    assert (await both.call("GET", "/auth/me")).status_code == 200


@pytest.mark.parametrize(
    ("role", "reads", "creates"), [("viewer", 200, 403), ("member", 403, 403), ("developer", 200, 201)]
)
async def test_role_decides(both: Site, role: str, reads: int, creates: int) -> None:
    user, headers = await register(both)
    tenant = (await both.data("GET", "/tenants"))[0]["id"]
    await both.data("POST", f"/tenants/{tenant}/members", json={"email": user["email"], "role": role})
    there = {**headers, "X-Tenant-ID": tenant}

    assert (await both.call("GET", "/volumes", headers=there)).status_code == reads
    body = {"name": "vol-one", "size_gb": 1}
    assert (await both.call("POST", "/volumes", json=body, headers=there)).status_code == creates
    assert (await both.call("GET", "/events", headers=there)).status_code == (200 if role == "developer" else 403)


async def test_members_and_default_tenant(both: Site) -> None:
    user, headers = await register(both)
    (tenant,) = await both.data("GET", "/tenants")
    path = f"/tenants/{tenant['id']}"

    await both.error(403, "POST", f"{path}/switch", headers=headers)
    await both.error(403, "POST", f"{path}/members", json={"email": user["email"], "role": "viewer"}, headers=headers)
    await both.data("POST", f"{path}/members", json={"email": user["email"], "role": "viewer"})
    await both.error(409, "POST", f"{path}/members", json={"email": user["email"], "role": "viewer"})
    await both.error(404, "POST", f"{path}/members", json={"email": "nobody@example.org", "role": "viewer"})
    await both.error(400, "POST", "/tenants/no-uuid/switch")
    await both.data("POST", f"{path}/switch", headers=headers)

    assert (await both.data("GET", "/auth/me", headers=headers))["default_tenant_id"] == tenant["id"]


async def test_first_start_writes_the_key_for_its_owner_only_and_keeps_it(tmp_path: Path) -> None:
    async with devcloud_app(tmp_path) as inside:
        first = inside.api_key
        assert inside.cloud.settings.api_key_path.stat().st_mode & 0o777 == 0o600
        assert inside.cloud.settings.api_key_path.read_text() == f"{first}\n"
    async with devcloud_app(tmp_path, nodes=("node-a", "node-c")) as inside:
        assert inside.api_key == first
        assert set(inside.instances) == {"node-a", "node-b", "node-c"}


async def test_login_is_rate_limited_more_than_the_rest(tmp_path: Path) -> None:
    platform = devcloud_app(tmp_path, rate_limit_rps=1000.0, auth_rate_limit_per_min=1.0)
    async with platform as inside, inside.client() as client:
        answers = [await client.post("/auth/login", json={}) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [400, 429]
        assert (await client.get("/volumes")).status_code == 200


@pytest.mark.parametrize(
    ("password", "is_strong"), [(PASSWORD, True), ("aaaaaaaaaaaaaaaa", False), ("12345678", False)]
)
def test_entropy_estimate(password: str, *, is_strong: bool) -> None:
    assert (identity.estimate_entropy_bits(password) >= 50) == is_strong


async def test_stale_reads_are_of_keys_as_well(both: Site) -> None:
    both.trouble(Kind.STALE_READ, seconds=600.0)
    made = await both.data("POST", "/auth/keys", json={"name": "second"})
    key = await both.data("POST", "/ssh-keys", json={"name": "mine", "public_key": SSH_KEY})

    assert made["id"] not in (await both.call("GET", "/auth/keys")).text
    assert (await both.call("GET", "/ssh-keys")).json()["data"] in (None, [])
    await both.error(404, "GET", f"/ssh-keys/{key['id']}")
    both.inside.faults.clear()
    assert made["id"] in (await both.call("GET", "/auth/keys")).text
    assert (await both.data("GET", f"/ssh-keys/{key['id']}"))["name"] == "mine"
