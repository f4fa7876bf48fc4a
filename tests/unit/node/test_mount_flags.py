"""Mount flags pass through unless they would mount something else, or somewhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi.errors import CsiError, ErrorKind
from node.mount_flags import asks_read_only, check_mount_flags

CONTEXT = 'context="system_u:object_r:container_file_t:s0:c1,c2"'


@pytest.mark.parametrize(
    ("flags", "checked"),
    [
        ((), ()),
        (("noatime", "discard"), ("noatime", "discard")),
        (("noatime,discard", "noatime"), ("noatime", "discard")),
        ((CONTEXT,), (CONTEXT,)),
        ((f"noatime,{CONTEXT},ro",), ("noatime", CONTEXT, "ro")),
        (("data=ordered", "errors=remount-ro"), ("data=ordered", "errors=remount-ro")),
        (("compress=zstd:3",), ("compress=zstd:3",)),
    ],
)
def test_ordinary_flags_pass_in_order_and_once(flags, checked) -> None:
    assert check_mount_flags(flags, "flags") == checked


@pytest.mark.parametrize(
    "flag",
    [
        "bind", "rbind", "remount", "move", "shared", "private", "loop", "loop=/dev/loop0", "LOOP", "offset=512",
        "sizelimit=1", "device=/dev/vda", "journal_path=/dev/vda", "logdev=/dev/vda", "sb=32768", "subvol=/x",
        "x-mount.mkdir", "X-mount.subdir=/x", "verity.roothash=1", "helper=evil", "-o", "--bind", " bind", "bind ",
        "noatime,bind", "noatime,,discard", "", "noatime,", 'context="open', "a\\054bind", "a\nb", "a\0b",
    ],
)  # fmt: skip
def test_flags_that_change_what_is_mounted_are_refused_by_name(flag: str) -> None:
    with pytest.raises(CsiError, match="flags") as caught:
        check_mount_flags((flag,), "flags")
    assert caught.value.kind is ErrorKind.INVALID


def test_too_many_flags_are_refused() -> None:
    with pytest.raises(CsiError, match="65 flags"):
        check_mount_flags(tuple(f"f{n}" for n in range(65)), "flags")


def test_contradicting_flags_are_refused() -> None:
    with pytest.raises(CsiError, match="both"):
        check_mount_flags(("ro", "rw"), "flags")


def test_read_only_is_recognised() -> None:
    assert asks_read_only(("noatime", "ro"))
    assert not asks_read_only(("noatime", "rw", "errors=remount-ro"))


@given(st.lists(st.text(alphabet='abloindr,="\\ -x.', max_size=12), max_size=4))
def test_joining_accepted_flags_never_smuggles_a_forbidden_one(flags: list[str]) -> None:
    try:
        checked = check_mount_flags(tuple(flags), "flags")
    except CsiError:
        return
    assert check_mount_flags(tuple(checked), "flags") == checked
    if checked:
        assert check_mount_flags((",".join(checked),), "flags") == checked
