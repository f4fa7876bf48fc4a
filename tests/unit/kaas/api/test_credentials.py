import msgspec
import pytest

from kaas.db import tables
from kaas.domain.states import ClusterStatus, OperationState
from tests.unit.kaas.api.rig import SSH_KEY, Rig


async def test_a_kubeconfig_is_yaml_in_a_string(rig: Rig) -> None:
    made = await rig.running("dev")
    answer = await rig.ask("GET", f"/clusters/{made['id']}/kubeconfig")
    assert answer.status_code == 200
    assert msgspec.yaml.decode(answer.json()["data"])["kind"] == "Config"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "X-Kubeconfig-Expires" in answer.headers


@pytest.mark.parametrize("role", ["reader", "member", "admin"])
async def test_it_is_for_the_callers_role_and_written_down(rig: Rig, role: str) -> None:
    made = await rig.running("dev")
    assert (await rig.ask("GET", "/clusters/dev/kubeconfig?expires_in=3600", role=role)).status_code == 200
    [(user, issued_role, ttl_s)] = rig.access.asked
    assert (issued_role, ttl_s) == (role, 3600.0)
    [row] = await rig.rows(tables.kubeconfig_issue)
    assert (row.user_id, row.role, row.cluster_id, row.serial) == (user, role, made["id"], "42")
    assert row.client_ip
    assert "Config" not in str(row)


async def test_less_than_ones_own_role_may_be_asked_for_but_not_more(rig: Rig) -> None:
    await rig.running("dev")
    assert (await rig.ask("GET", "/clusters/dev/kubeconfig?role=reader")).status_code == 200
    assert rig.access.asked[0][1:] == ("reader", 24 * 3600.0)
    answer = await rig.ask("GET", "/clusters/dev/kubeconfig?role=admin", role="member")
    assert answer.status_code == 403
    assert len(rig.access.asked) == 1
    assert len(await rig.rows(tables.kubeconfig_issue)) == 1


async def test_there_is_none_before_there_is_an_api(rig: Rig) -> None:
    await rig.create("dev")
    answer = await rig.ask("GET", "/clusters/dev/kubeconfig")
    assert (answer.status_code, answer.json()["error"]["type"]) == (409, "CONFLICT")
    assert "pending" in answer.json()["error"]["message"]
    assert rig.access.asked == []
    assert (await rig.audited())[-1] == ("ada", "get_kubeconfig", "dev", "refused: WRONG_STATE")


@pytest.mark.parametrize("change", ["scale", "repair", "failed"])
async def test_there_is_one_while_the_cluster_is_changed_and_after_a_failure(rig: Rig, change: str) -> None:
    made = await rig.running("dev")
    if change == "scale":
        assert (await rig.ask("PUT", "/clusters/dev/scale", {"workers": 3})).status_code == 200
    else:
        assert (await rig.ask("POST", "/clusters/dev/repair")).status_code == 202
    if change == "failed":
        await rig.conduct(made["id"], state=OperationState.FAILED, status=ClusterStatus.FAILED)
    assert (await rig.snapshot("dev")).cluster.status is not ClusterStatus.RUNNING
    assert (await rig.ask("GET", "/clusters/dev/kubeconfig")).status_code == 200


async def test_the_ssh_key_is_for_admins(rig: Rig) -> None:
    await rig.running("dev")
    answer = await rig.ask("GET", "/clusters/dev/ssh-key")
    seen = answer.json()["data"]
    assert (seen["private_key"], seen["user"]) == (SSH_KEY, "root")
    assert seen["addresses"]["dev-control-plane-0"] == "10.77.0.10"
    assert answer.headers["Cache-Control"] == "no-store"
    for role in ("reader", "member"):
        answer = await rig.ask("GET", "/clusters/dev/ssh-key", role=role)
        assert answer.status_code == 403
        assert "PRIVATE" not in answer.text


async def test_every_way_in_is_audited_given_or_not(rig: Rig) -> None:
    await rig.running("dev")
    await rig.ask("GET", "/clusters/dev/kubeconfig")
    await rig.ask("GET", "/clusters/dev/ssh-key")
    await rig.ask("GET", "/clusters/dev/ssh-key", role="reader")
    assert (await rig.audited())[1:] == [
        ("ada", "get_kubeconfig", "dev", "accepted"),
        ("ada", "get_ssh_key", "dev", "accepted"),
        ("rita", "get_ssh_key", "dev", "refused: FORBIDDEN"),
    ]
