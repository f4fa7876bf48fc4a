import pytest

from controller.features import HOSTNAME
from controller.model import Instance
from controller.nodes import Nodes, matches_of

ONE = Instance(id="11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa", name="worker", hostname="w1")
TWO = Instance(id="22222222-aaaa-4aaa-8aaa-aaaaaaaaaaaa", name="worker", hostname="w2")
TRAP = Instance(id="33333333-aaaa-4aaa-8aaa-aaaaaaaaaaaa", name="thecloud-11111111", hostname="w2")
ALL = [ONE, TWO, TRAP]
EXTENDED = frozenset({HOSTNAME})
STRICT: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("node_id", "features", "found"),
    [
        (ONE.id, STRICT, [ONE]),
        (ONE.id.upper(), EXTENDED, [ONE]),
        ("44444444-aaaa-4aaa-8aaa-aaaaaaaaaaaa", STRICT, []),
        ("w1", EXTENDED, [ONE]),
        ("w2", EXTENDED, [TWO, TRAP]),
        ("w1", STRICT, []),
        ("worker", EXTENDED, []),
        ("worker", STRICT, [ONE, TWO]),
        ("thecloud-22222222", STRICT, [TWO]),
        ("thecloud-22222222", EXTENDED, []),
        ("thecloud-11111111", STRICT, [ONE]),
        ("thecloud-1111111", STRICT, []),
        ("11111111", STRICT, []),
        ("", STRICT, []),
    ],
)
def test_a_node_is_matched_by_one_rule_and_never_by_a_prefix(node_id, features, found):
    assert matches_of(node_id, ALL, features) == found


def nodes() -> Nodes:
    return Nodes(instances=None)  # type: ignore[arg-type]


async def known(found: Nodes, *instance_ids: str) -> dict[str, tuple[str, ...]]:
    return dict(await found.ids_of(instance_ids, features=STRICT, deadline=0.0))


async def test_what_is_remembered_of_nodes_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("controller.nodes._MAX_PUBLISHED", 10)
    found = nodes()
    for number in range(100):
        found.note_published(f"node-{number}", f"instance-{number}")
    assert len(found._published) == len(found._node_of) == 10
    assert await known(found, "instance-99") == {"instance-99": ("node-99",)}


async def test_a_node_and_an_instance_go_together_one_to_one():
    found = nodes()
    found.note_published("one", "i1")
    found.note_published("two", "i2")
    found.note_published("one", "i2")
    assert await known(found, "i2") == {"i2": ("one",)}
    assert found._published == {"one": "i2"}
    assert found._node_of == {"i2": "one"}
