from dataclasses import replace

from kaas.domain.model import ExternalRef, Snapshot
from kaas.domain.plans import plan_change, plan_create
from kaas.domain.ports import Kind
from kaas.domain.states import OperationKind, RefState
from kaas.domain.store import Amounts
from tests.unit.kaas.domain.made import asked, rules, snapshot


def built() -> Snapshot:
    """A cluster with all that belongs to it outside."""
    seen = snapshot()
    refs = [
        ExternalRef("1", "c-1", Kind.SECURITY_GROUP.value, "sg-dev", RefState.PRESENT),
        ExternalRef("2", "c-1", Kind.ENDPOINT.value, "k8s-dev-api", RefState.PRESENT),
        ExternalRef("3", "c-1", Kind.CREDENTIAL.value, "k8s-dev", RefState.INTENDED),
        ExternalRef("4", "c-1", Kind.KEY_PAIR.value, "k8s-dev-old", RefState.GONE),
        *(
            ExternalRef(f"m-{node.name}", "c-1", Kind.MACHINE.value, node.name, RefState.PRESENT, node_id=node.id)
            for node in seen.nodes
        ),
    ]
    return replace(seen, refs=tuple(refs))


def test_what_a_new_cluster_is_made_of() -> None:
    plan = plan_create("dev", rules().create(asked()))
    assert [(item.kind, item.name, item.count) for item in plan.make] == [
        (Kind.SECURITY_GROUP, "sg-dev", 1),
        (Kind.KEY_PAIR, "k8s-dev-*", 1),
        (Kind.ENDPOINT, "k8s-dev-*-api", 1),
        (Kind.CREDENTIAL, "k8s-dev-*", 1),
        (Kind.MACHINE, "dev-control-plane-*", 1),
        (Kind.MACHINE, "dev-default-pool-*", 2),
    ]
    assert (plan.keep, plan.remove) == ((), ())
    assert plan.usage_before == Amounts()
    assert plan.usage_after.nodes == 3
    assert any("one control plane" in warning for warning in plan.warnings)
    assert not plan_create("dev", rules().create(asked(ha=True))).warnings
    (isolated,) = plan_create("dev", rules().create(asked(ha=True, network_isolation=True))).warnings
    assert "nothing acts on it yet" in isolated


def test_what_a_scale_makes_keeps_and_removes() -> None:
    seen = built()
    up = plan_change(seen, rules().scale(4)(seen), Amounts(nodes=3))
    assert [(item.name, item.count) for item in up.make] == [("dev-default-pool-*", 2)]
    assert up.remove == ()
    assert len(up.keep) == 6
    down = plan_change(seen, rules().scale(1)(seen), Amounts(nodes=3))
    assert [item.name for item in down.remove] == ["dev-default-pool-1"]
    assert "dev-default-pool-1" not in {item.name for item in down.keep}
    assert (down.usage_before.nodes, down.usage_after.nodes) == (3, 2)
    assert any("drained" in warning for warning in down.warnings)


def test_a_delete_removes_all_in_the_order_of_its_end() -> None:
    seen = built()
    plan = plan_change(seen, rules().delete()(seen), Amounts(nodes=3))
    assert plan.kind is OperationKind.DELETE
    assert plan.keep == ()
    kinds = [item.kind for item in plan.remove]
    assert kinds == sorted(kinds, key=list(Kind).index)
    assert "k8s-dev-old" not in {item.name for item in plan.remove}
    assert plan.usage_after == Amounts()
    assert plan.warnings == ("volumes of claims are kept",)
    assert "deleted" in plan_change(seen, rules().delete(volumes=True)(seen), Amounts()).warnings[0]
