import pytest

from kaas.domain.errors import Code, RequestError
from kaas.domain.model import Scope
from kaas.domain.policy import POLICY, Action, Role, check, kubeconfig_role

TABLE = {
    Action.READ: "reader member admin",
    Action.KUBECONFIG: "reader member admin",
    Action.CREATE: "member admin",
    Action.UPDATE: "member admin",
    Action.DELETE: "member admin",
    Action.SSH_KEY: "admin",
}


def scope(role: str) -> Scope:
    return Scope("blue", "ada", role)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_the_table(role: Role, action: Action) -> None:
    if role.value in TABLE[action].split():
        check(scope(role.value), action)
        return
    with pytest.raises(RequestError, match="permission denied") as caught:
        check(scope(role.value), action)
    assert caught.value.code is Code.FORBIDDEN


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("role", ["", "root", "Admin", "admin "])
def test_a_word_that_is_no_role_may_do_nothing(role: str, action: Action) -> None:
    with pytest.raises(RequestError) as caught:
        check(scope(role), action)
    assert caught.value.code is Code.FORBIDDEN


@pytest.mark.parametrize("own", Role)
def test_a_kubeconfig_is_for_the_callers_own_role_when_none_is_asked_for(own: Role) -> None:
    assert kubeconfig_role(scope(own.value), "") is own


@pytest.mark.parametrize("own", Role)
@pytest.mark.parametrize("wanted", Role)
def test_nobody_gets_a_kubeconfig_that_may_more_than_they_may(own: Role, wanted: Role) -> None:
    if POLICY[wanted] <= POLICY[own]:
        assert kubeconfig_role(scope(own.value), wanted.value) is wanted
        return
    with pytest.raises(RequestError) as caught:
        kubeconfig_role(scope(own.value), wanted.value)
    assert caught.value.code is Code.FORBIDDEN


def test_a_role_that_is_none() -> None:
    with pytest.raises(RequestError, match="reader, member, admin") as caught:
        kubeconfig_role(scope("admin"), "system:masters")
    assert caught.value.code is Code.INVALID
