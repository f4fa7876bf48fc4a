from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.features import MODIFY, TAGS, ZONED_CREATE
from controller.parameters import PARAMETERS, Changes, Scope, read_changes, read_tags, read_volume_parameters
from csi.errors import CsiError, ErrorKind
from tests.unit.controller.outcomes import only

ALL = ZONED_CREATE | {MODIFY}
NONE: frozenset[str] = frozenset()


def refusal(
    parameters: Mapping[str, str],
    mutable: Mapping[str, str] | None = None,
    features: frozenset[str] = ALL,
    fs_types: tuple[str, ...] = (),
) -> str:
    with pytest.raises(CsiError) as caught:
        read_volume_parameters(parameters, mutable or {}, features, fs_types)
    assert caught.value.kind is ErrorKind.INVALID
    return caught.value.message


def test_a_full_storage_class_is_read_into_its_types():
    found = read_volume_parameters(
        {
            "mkfsOptions": " -m 0  -i 16384 ",
            "performanceClass": "fast",
            "tags": "team=db, stage=prod",
            "zone": "z1",
            "csi.storage.k8s.io/fstype": "ext4",
            "csi.storage.k8s.io/pvc/name": "data",
            "csi.storage.k8s.io/pvc/namespace": "shop",
        },
        {},
        ALL,
    )
    assert found.mkfs_options == ("-m", "0", "-i", "16384")
    assert (found.performance_class, found.zone) == ("fast", "z1")
    assert found.tags == {
        "team": "db",
        "stage": "prod",
        "csi.thecloud.io/pvc-name": "data",
        "csi.thecloud.io/pvc-namespace": "shop",
    }


def test_a_volume_attributes_class_wins_over_the_storage_class():
    found = read_volume_parameters(
        {"performanceClass": "slow", "tags": "a=1,b=2"}, {"performanceClass": "fast", "tags": "a=,c=3"}, ALL
    )
    assert found.performance_class == "fast"
    assert found.tags == {"b": "2", "c": "3"}


def test_what_the_sidecars_add_is_dropped_where_there_are_no_tags():
    assert read_volume_parameters({"csi.storage.k8s.io/pvc/name": "data"}, {}, NONE).tags == {}


@pytest.mark.parametrize("key", ["csi.storage.k8s.io/fsType", "csi.storage.k8s.io/pvc/Name", "csi.storage.k8s.io/"])
def test_a_misspelt_key_of_the_sidecars_is_named_with_the_known_ones(key):
    message = refusal({key: "x"})
    assert repr(key) in message
    assert "csi.storage.k8s.io/fstype" in message
    with pytest.raises(CsiError, match="volumesnapshot/name"):
        read_tags({key: "x"}, Scope.SNAPSHOT, ALL)
    assert repr(key) in refusal({}, {key: "x"})


@pytest.mark.parametrize("key", ["fsType", "csi.storage.k8s.io/fstype"])
def test_the_file_system_of_a_class_is_that_of_the_capabilities(key):
    assert read_volume_parameters({key: "xfs"}, {}, ALL, ("xfs",)) == read_volume_parameters({}, {}, ALL, ("xfs",))
    assert read_volume_parameters({key: "ext4"}, {}, ALL, ("ext4",)).mkfs_options == ()
    assert read_volume_parameters({key: "xfs"}, {}, ALL).mkfs_options == ()
    assert f"parameters[{key!r}] is 'xfs'" in refusal({key: "xfs"}, fs_types=("ext4",))
    assert f"parameters[{key!r}] is 'ntfs'; ext4, xfs, btrfs" in refusal({key: "ntfs"})


def test_two_file_systems_in_one_class_are_refused():
    both = {"fsType": "xfs", "csi.storage.k8s.io/fstype": "ext4"}
    assert "the same file system everywhere" in refusal(both)
    assert read_volume_parameters(both | {"fsType": "ext4"}, {}, ALL).tags == {}


def test_mkfs_options_are_those_of_the_file_system_that_is_asked_for():
    xfs = {"mkfsOptions": "-m reflink=0"}
    assert read_volume_parameters(xfs, {}, ALL, ("xfs",)).mkfs_options == ("-m", "reflink=0")
    assert read_volume_parameters(xfs, {}, ALL).mkfs_options == ("-m", "reflink=0")
    assert "for ext4" in refusal(xfs, fs_types=("ext4",))
    assert "for btrfs" in refusal(xfs | {"fsType": "btrfs"})


@pytest.mark.parametrize("key", ["perfomanceClass", "Tags", "", "mkfs-options", "x" * 10_000])
def test_an_unknown_key_is_named_with_the_known_ones(key):
    message = refusal({key: "x"})
    assert repr(key[:80]) in message
    assert "mkfsOptions, performanceClass, tags, zone, fsType" in message


def test_an_unknown_mutable_key_is_named():
    assert "mutable_parameters['zone']" in refusal({}, {"zone": "a"})


@pytest.mark.parametrize(
    ("key", "feature"),
    [("performanceClass", MODIFY), ("tags", TAGS), *(("zone", feature) for feature in sorted(ZONED_CREATE))],
)
def test_a_parameter_that_the_platform_cannot_honour_is_refused(key, feature):
    message = refusal({key: "a=b" if key == "tags" else "a"}, features=ALL - {feature})
    assert key in message
    assert feature in message


@pytest.mark.parametrize(
    "tags", ["a", "=b", "a=b,a=c", "csi.thecloud.io/cluster=x", "a b=c", f"a={'x' * 256}", "a=\x01", "ä=b"]
)
def test_malformed_and_reserved_tags_are_refused(tags):
    assert "parameters['tags']" in refusal({"tags": tags})


def test_too_many_tags_are_refused():
    assert "33 tags" in refusal({"tags": ",".join(f"k{number}=v" for number in range(33))})


@pytest.mark.parametrize("value", ["../x", "a b", "x" * 64, "-a", "a\nb"])
@pytest.mark.parametrize("key", ["performanceClass", "zone"])
def test_a_name_of_class_or_zone_is_one_plain_word(key, value):
    assert f"parameters[{key!r}]" in refusal({key: value})


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.text()), st.dictionaries(st.text(), st.text()))
def test_any_map_is_read_or_refused_as_invalid(parameters, mutable):
    with only(ErrorKind.INVALID):
        read_volume_parameters(parameters, mutable, ALL)


def test_changes_keep_an_empty_value_since_it_removes_a_tag():
    assert read_changes({"tags": "a=,b=1"}, ALL).tags == {"a": "", "b": "1"}


def test_snapshot_classes_know_tags_and_their_own_sidecar_keys_only():
    found = read_tags({"tags": "a=1", "csi.storage.k8s.io/volumesnapshot/name": "s"}, Scope.SNAPSHOT, ALL)
    assert found == {"a": "1", "csi.thecloud.io/snapshot-name": "s"}
    with pytest.raises(CsiError):
        read_tags({"zone": "a"}, Scope.GROUP, ALL)
    assert read_tags({"tags": "a=1", "deletionPolicy": "Retain"}, Scope.GROUP, ALL) == {"a": "1"}


def test_what_the_resizer_adds_to_a_change_becomes_tags_as_at_the_creation():
    added = {
        "csi.storage.k8s.io/pvc/name": "data",
        "csi.storage.k8s.io/pvc/namespace": "shop",
        "csi.storage.k8s.io/pv/name": "pvc-1",
    }
    assert read_changes({**added, "performanceClass": "fast"}, ALL) == Changes(
        performance_class="fast",
        tags={
            "csi.thecloud.io/pvc-name": "data",
            "csi.thecloud.io/pvc-namespace": "shop",
            "csi.thecloud.io/pv-name": "pvc-1",
        },
    )
    assert read_changes(added, NONE) == Changes()


def test_every_row_of_the_table_says_what_it_means():
    assert all(row.form and row.meaning and row.scopes for row in PARAMETERS)
    assert len({row.key for row in PARAMETERS}) == len(PARAMETERS)
