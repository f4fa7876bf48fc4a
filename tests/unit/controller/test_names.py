import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.names import CLUSTER_TAG, MAX_NAME, Ownership, is_uuid

OURS = Ownership(cluster_id="c1", name_prefix="csi", adopted_prefixes=("pvc-old-",))
OTHER = Ownership(cluster_id="c2", name_prefix="csi")


@settings(deadline=None)
@given(st.text(min_size=1, max_size=200))
def test_every_name_is_plain_short_and_always_the_same(csi_name):
    name = OURS.name(csi_name)
    assert 3 <= len(name) <= MAX_NAME
    assert name.isascii()
    assert "/" not in name
    assert name == OURS.name(csi_name)
    assert OURS.owns(name, {})
    assert not is_uuid(name)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
def test_different_csi_names_never_share_name_or_key(one, two):
    if one != two:
        assert OURS.name(one) != OURS.name(two)
        assert OURS.key("volume", one) != OURS.key("volume", two)


def test_two_clusters_never_share_name_or_key():
    assert OURS.name("pvc-1") != OTHER.name("pvc-1")
    assert OURS.key("volume", "pvc-1") != OTHER.key("volume", "pvc-1")


def test_a_volume_and_a_snapshot_of_one_name_have_different_keys_that_fit_the_platform():
    assert OURS.key("volume", "a") != OURS.key("snapshot", "a")
    assert len(OURS.key("volume", "a")) == 64


@pytest.mark.parametrize(
    ("name", "tags", "is_ours"),
    [
        (OURS.name("a"), {}, True),
        (OURS.name("a"), {CLUSTER_TAG: "c1"}, True),
        ("anything", {CLUSTER_TAG: "c1"}, True),
        ("anything", {}, False),
        (OTHER.name("a"), {}, False),
        (OURS.name("a"), {CLUSTER_TAG: "c2"}, False),
        ("pvc-old-1", {}, True),
        ("pvc-older", {}, False),
    ],
)
def test_the_tag_decides_about_ownership_and_without_it_the_name(name, tags, is_ours):
    assert OURS.owns(name, tags) is is_ours
