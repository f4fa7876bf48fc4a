import pytest

from controller.features import HOSTNAME
from controller.model import Instance
from controller.nodes import matches_of

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
