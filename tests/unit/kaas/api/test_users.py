import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kaas.api.platform_users import (
    REMEMBERED_S,
    KeyRefusedError,
    PlatformSilentError,
    PlatformUser,
    PlatformUsers,
)
from kaas.api.static_users import StaticUsers, hash_key
from kaas.domain.errors import Code, RequestError

TENANT, OTHER = "7c9e6679-7425-40de-944b-e07fc1f90ae7", "0f8fad5b-d9cb-469f-a165-70867728950e"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def user(name: str = "ada", key: str = "k-1", **fields: Any) -> dict[str, Any]:
    return {"id": name, "key_sha256": hash_key(key), "tenants": {"blue": "admin"}, **fields}


def write(path: Path, *users: Mapping[str, Any], mode: int = 0o600) -> Path:
    path.write_text(json.dumps({"users": users}))
    path.chmod(mode)
    return path


async def code_of(users: Any, key: str, tenant: str = "") -> Code:
    with pytest.raises(RequestError) as caught:
        await users.authenticate(key, tenant_id=tenant)
    assert key not in str(caught.value)
    return caught.value.code


async def test_a_user_of_a_file(tmp_path: Path) -> None:
    two = user("max", "k-2", tenants={"blue": "reader", "green": "member"})
    users = StaticUsers(write(tmp_path / "users", user(), two))
    scope = await users.authenticate("k-1", tenant_id="")
    assert (scope.tenant_id, scope.user_id, scope.role) == ("blue", "ada", "admin")
    assert (await users.authenticate("k-2", tenant_id="green")).role == "member"
    assert await code_of(users, "k-2") is Code.INVALID
    assert await code_of(users, "k-1", "green") is Code.FORBIDDEN
    assert await code_of(users, "unknown-key") is Code.UNAUTHENTICATED
    assert await code_of(users, hash_key("k-1")) is Code.UNAUTHENTICATED


async def test_a_file_that_has_changed_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    path = write(tmp_path / "users", user())
    users = StaticUsers(path, clock=clock)
    write(path, user("eve", "another-key"))
    assert (await users.authenticate("k-1", tenant_id="")).user_id == "ada"
    clock.now = 5.0
    assert await code_of(users, "k-1") is Code.UNAUTHENTICATED
    assert (await users.authenticate("another-key", tenant_id="")).user_id == "eve"
    path.write_text("users: [")
    clock.now = 10.0
    with caplog.at_level(logging.ERROR):
        assert (await users.authenticate("another-key", tenant_id="")).user_id == "eve"
    assert "stay as they were" in caplog.text


@pytest.mark.parametrize(
    ("users", "words"),
    [
        ([user(key_sha256="k-1")], "64 lower-case hex"),
        ([user(tenants={})], "at least one"),
        ([user(tenants={"blue": "root"})], "cannot be read"),
        ([user(default_tenant="green")], "none of the tenants"),
        ([user(), user("max")], "same key"),
        ([{**user(), "key": "plain"}], "unknown field"),
        ([user("")], "id is needed"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, users: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        StaticUsers(write(tmp_path / "users", *users))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_not_taken(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ValueError, match="chmod 0600"):
        StaticUsers(write(tmp_path / "users", user(), mode=mode))


class Platform:
    """Answers who has a key, or fails as it is told."""

    def __init__(self, **fields: Any) -> None:
        plain: dict[str, Any] = {"user_id": "u-1", "role": "developer", "default_tenant_id": TENANT}
        self.user = PlatformUser(**{**plain, "tenants": {TENANT: False}, **fields})
        self.error: Exception | None = None
        self.asked = 0

    async def __call__(self, key: str) -> PlatformUser:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.user


@pytest.mark.parametrize(
    ("role", "owns", "expected"),
    [
        ("developer", False, "member"),
        ("developer", True, "admin"),
        ("admin", False, "admin"),
        ("owner", False, "admin"),
        ("viewer", False, "reader"),
        ("reader", False, ""),
        ("unheard-of", False, ""),
    ],
)
async def test_roles_of_the_platform(role: str, owns: bool, expected: str) -> None:
    users = PlatformUsers(Platform(role=role, tenants={TENANT: owns}))
    assert (await users.authenticate("key", tenant_id="")).role == expected


async def test_tenants_of_the_platform() -> None:
    users = PlatformUsers(Platform(tenants={TENANT: False, OTHER: True}))
    assert (await users.authenticate("key", tenant_id="")).tenant_id == TENANT
    assert (await users.authenticate("key", tenant_id=OTHER)).role == "admin"
    assert await code_of(users, "some-key", "no-uuid") is Code.INVALID
    assert await code_of(PlatformUsers(Platform()), "some-key", OTHER) is Code.FORBIDDEN
    assert await code_of(PlatformUsers(Platform(default_tenant_id="")), "some-key") is Code.INVALID


async def test_what_the_platform_said_is_remembered_shortly() -> None:
    platform, clock = Platform(), Clock()
    users = PlatformUsers(platform, clock=clock)
    await users.authenticate("some-key", tenant_id="")
    platform.error = PlatformSilentError()
    clock.now = REMEMBERED_S - 1
    await users.authenticate("some-key", tenant_id="")
    assert platform.asked == 1
    clock.now = REMEMBERED_S
    assert await code_of(users, "some-key") is Code.PLATFORM_UNAVAILABLE


async def test_an_outage_is_not_a_wrong_key_and_a_wrong_key_is_not_remembered() -> None:
    platform = Platform()
    users = PlatformUsers(platform)
    platform.error = PlatformSilentError()
    assert await code_of(users, "some-key") is Code.PLATFORM_UNAVAILABLE
    platform.error = KeyRefusedError()
    assert await code_of(users, "some-key") is Code.UNAUTHENTICATED
    platform.error = None
    assert (await users.authenticate("some-key", tenant_id="")).user_id == "u-1"
    assert "some-key" not in repr(users.__dict__)
