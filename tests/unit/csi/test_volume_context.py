import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi.errors import CsiError, ErrorKind
from csi.volume_context import (
    ALLOCATED_BYTES_KEY,
    MKFS_OPTIONS_KEY,
    SERIAL_KEY,
    SIZE_BYTES_KEY,
    PublishContext,
    VolumeContext,
)

sizes = st.integers(min_value=0, max_value=10**19 - 1)
serials = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
pairs = st.sampled_from([("-b", "4096"), ("-i", "16384"), ("-E", "stride=4,resize=9"), ("-O", "^has_journal")])


@given(st.builds(PublishContext, serial=serials, size_bytes=sizes, allocated_bytes=st.none() | sizes))
def test_what_the_controller_says_of_an_attachment_the_node_reads(context: PublishContext) -> None:
    assert PublishContext.from_wire(context.to_wire()) == context


@given(
    st.builds(
        VolumeContext,
        mkfs_options=st.lists(pairs, max_size=8).map(lambda found: tuple(word for pair in found for word in pair)),
        source=st.sampled_from(["", "volume:1"]),
    )
)
def test_what_the_controller_says_of_a_volume_the_node_reads(context: VolumeContext) -> None:
    wire = context.to_wire() | {"storage.kubernetes.io/csiProvisionerIdentity": "someone else's"}
    assert VolumeContext.from_wire(wire, ("ext4",)) == VolumeContext.from_wire(wire) == context


@pytest.mark.parametrize("serial", ["", "a b", "../../etc", "x" * 65, "/dev/vda", "ä", "a\n"])
def test_a_serial_that_is_none_is_refused(serial: str) -> None:
    with pytest.raises(CsiError) as caught:
        PublishContext.from_wire({SERIAL_KEY: serial, SIZE_BYTES_KEY: "1"})
    assert caught.value.kind is ErrorKind.INVALID
    assert SERIAL_KEY in caught.value.message


@pytest.mark.parametrize("number", ["", "-1", "1.5", "0x10", "1e3", " 1", "9" * 20, "\u0661", "1\n"])
@pytest.mark.parametrize("key", [SIZE_BYTES_KEY, ALLOCATED_BYTES_KEY])
def test_a_number_that_is_none_is_refused(key: str, number: str) -> None:
    with pytest.raises(CsiError) as caught:
        PublishContext.from_wire({SERIAL_KEY: "a", SIZE_BYTES_KEY: "1", key: number})
    assert caught.value.kind is ErrorKind.INVALID
    assert key in caught.value.message


@pytest.mark.parametrize(("options", "fs_types"), [("-b 4096 -qF", ("ext4",)), ("-m reflink=0", ("ext4",)), ("-F", ())])
def test_options_that_mkfs_must_not_get_are_refused(options: str, fs_types: tuple[str, ...]) -> None:
    with pytest.raises(CsiError) as caught:
        VolumeContext.from_wire({MKFS_OPTIONS_KEY: options}, fs_types)
    assert caught.value.kind is ErrorKind.INVALID
    assert "mkfsOptions" in caught.value.message
