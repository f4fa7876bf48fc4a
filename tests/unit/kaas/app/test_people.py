import pytest

from kaas import people
from kaas.api.static_users import StaticUsers
from kaas.domain.policy import Role
from kaas.unfit import UnfitError


async def test_who_is_added_may_come_in(tmp_path):
    path = tmp_path / "users.yaml"
    ada = people.add(path, people.Person("ada", "blue", Role.ADMIN))
    max_ = people.add(path, people.Person("max", "green", Role.READER))
    assert path.stat().st_mode & 0o777 == 0o600
    assert ada not in path.read_text()
    users = StaticUsers(path)
    scopes = [await users.authenticate(key, tenant_id="") for key in (ada, max_)]
    assert [(one.user_id, one.tenant_id, one.role) for one in scopes] == [
        ("ada", "blue", "admin"),
        ("max", "green", "reader"),
    ]


def test_nobody_is_added_twice(tmp_path):
    path = tmp_path / "users.yaml"
    people.add(path, people.Person("ada", "blue", Role.ADMIN))
    before = path.read_bytes()
    with pytest.raises(UnfitError, match="has a user ada already"):
        people.add(path, people.Person("ada", "green", Role.READER))
    assert path.read_bytes() == before


def test_a_file_that_is_wrong_is_left_alone(tmp_path):
    path = tmp_path / "users.yaml"
    path.write_text("users: [{id: ada}]\n")
    path.chmod(0o600)
    with pytest.raises(UnfitError, match="the file is wrong"):
        people.add(path, people.Person("max", "green", Role.READER))
    assert path.read_text() == "users: [{id: ada}]\n"
