"""What reaches mkfs: only pairs from the table, however they are written."""

import getopt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csi.errors import CsiError, ErrorKind
from csi.mkfs_options import MAX_MKFS_OPTIONS, MKFS_OPTIONS, parse_mkfs_options, pattern_of

FILE_SYSTEMS = ("ext4", "xfs", "btrfs")
OPTIONS_OF_TOOL = {
    "ext4": "b:ce:g:i:jl:m:no:qr:s:t:d:vC:DE:FG:I:J:KL:M:N:O:R:ST:U:Vz:",
    "xfs": "b:c:d:i:l:L:m:n:KNp:qr:s:CfV",
    "btrfs": "A:b:fl:n:s:m:d:L:R:O:r:U:VvMKq",
}
"""What each mkfs understands, as its own command line reader is told."""
NEVER = {
    "ext4": set("cdjlnoqrstvDFKLMRSUVz"),
    "xfs": set("cLKNpqrCfV"),
    "btrfs": set("AbflLrUVvMKq"),
}
"""Forces, simulates, names, reads from or writes to elsewhere, or says nothing about the file system."""
NEVER_IN_VALUES = (
    *("offset", "discard", "device", "location", "logdev", "rtdev", "name", ",file", "uuid", "UUID", "prezeroed"),
    *("lazy_itable_init=1", "lazy_journal_init=1", "journal_dev", "none", "test_fs", "hash_seed", "zoned", "raid"),
    *("internal=0", "crc=0", "panic", "/", ".."),
)
FRAGMENTS = (
    *("-", "--", ",", "=", "^", ":", "0", "1", "4096", "16384", "N", "P", "[^]", "list-all", "/dev/sda", "\u0661"),
    *(
        "-F",
        "-f",
        "-n",
        "-q",
        "-U",
        "-S",
        "-V",
        "-E",
        "-J",
        "-l",
        "-d",
        "-O",
        "-m",
        "-b",
        "-i",
        "-T",
        "--csum",
        "--uuid",
    ),
    *("stride=4", "size=512", "agcount=4", "metadata_csum", "single", "crc32c", "largefile", "x"),
    *NEVER_IN_VALUES,
)
texts = st.lists(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4).map("".join), max_size=6).map(
    " ".join
) | st.text(max_size=40)


def forbidden_in(value: str) -> list[str]:
    rest = value.replace("nodiscard", "")
    return [word for word in NEVER_IN_VALUES if word in rest]


def refusal(text: str, *fs_types: str) -> str:
    with pytest.raises(CsiError) as caught:
        parse_mkfs_options(text, fs_types)
    assert caught.value.kind is ErrorKind.INVALID
    return caught.value.message


@pytest.mark.parametrize("fs_type", FILE_SYSTEMS)
@given(text=texts)
def test_whatever_is_let_through_reads_as_pairs_of_the_table(fs_type: str, text: str) -> None:
    try:
        words = parse_mkfs_options(text, (fs_type,))
    except CsiError as error:
        if error.kind is not ErrorKind.INVALID:
            raise
        return
    options, places = getopt.gnu_getopt(list(words), OPTIONS_OF_TOOL[fs_type], ["csum="])
    assert places == []
    assert [word for pair in options for word in pair] == list(words)
    assert not {option[1:] for option, _ in options} & NEVER[fs_type]
    for _, value in options:
        assert value.isascii()
        assert forbidden_in(value) == []


def example(item: str) -> str:
    return item.replace("[^]", "^").replace("N", "4k").replace("P", "0.5")


@pytest.mark.parametrize("fs_type", FILE_SYSTEMS)
def test_each_row_of_the_table_lets_its_own_items_through(fs_type: str) -> None:
    for option in MKFS_OPTIONS[fs_type]:
        for item in option.items:
            assert parse_mkfs_options(f"{option.word} {example(item)}", (fs_type,)) == (option.word, example(item))
        both = ",".join(example(item) for item in option.items[:2])
        assert bool(pattern_of(option).fullmatch(both)) is (option.several or len(option.items) < 2)


@pytest.mark.parametrize("fs_type", FILE_SYSTEMS)
def test_no_row_of_the_table_is_what_must_never_be(fs_type: str) -> None:
    for option in MKFS_OPTIONS[fs_type]:
        assert option.word.lstrip("-") not in NEVER[fs_type]
        assert [item for item in option.items if forbidden_in(item)] == []


@pytest.mark.parametrize(
    ("fs_type", "text"),
    [
        ("ext4", "-F"),
        ("ext4", "-qF"),
        ("ext4", "-qn"),
        ("ext4", "-n"),
        ("ext4", "-S"),
        ("ext4", "-Eoffset=4194304"),
        ("ext4", "-E offset=4194304"),
        ("ext4", "-E stride=4,offset=4194304"),
        ("ext4", "-Ediscard"),
        ("ext4", "-E discard"),
        ("ext4", "-E assume_storage_prezeroed=1"),
        ("ext4", "-E lazy_journal_init=1"),
        ("ext4", "-Jdevice=UUID=c1b9d5a2-f162-11cf-9ece-0020afc76f16"),
        ("ext4", "-J device=LABEL=x"),
        ("ext4", "-O journal_dev"),
        ("ext4", "-O none"),
        ("ext4", "-t ext2"),
        ("ext4", "-T ext3"),
        ("ext4", "-b 65536"),
        ("ext4", "-L root"),
        ("ext4", "-U random"),
        ("ext4", "-m 0 1G"),
        ("ext4", "-m 0 -i"),
        ("ext4", "-m -i 16384"),
        ("ext4", "--"),
        ("ext4", "-m 0 -- -i 1"),
        ("ext4", "-m\u00a00 -q"),
        ("xfs", "-f"),
        ("xfs", "-N"),
        ("xfs", "-llogdev=x"),
        ("xfs", "-l logdev=x"),
        ("xfs", "-l internal=0"),
        ("xfs", "-d size=1g"),
        ("xfs", "-d name=x"),
        ("xfs", "-d file=1"),
        ("xfs", "-r rtdev=x"),
        ("xfs", "-m uuid=c1b9d5a2-f162-11cf-9ece-0020afc76f16"),
        ("xfs", "-m crc=0"),
        ("xfs", "-c options=x"),
        ("xfs", "-p proto"),
        ("btrfs", "-f"),
        ("btrfs", "-b 1g"),
        ("btrfs", "--byte-count 1g"),
        ("btrfs", "-r root"),
        ("btrfs", "-O zoned"),
        ("btrfs", "-O list-all"),
        ("btrfs", "-d raid0"),
        ("btrfs", "-U c1b9d5a2-f162-11cf-9ece-0020afc76f16"),
        ("btrfs", "word"),
    ],
)
def test_what_would_force_move_share_or_only_pretend_is_refused(fs_type: str, text: str) -> None:
    message = refusal(text, fs_type)
    assert "mkfsOptions" in message
    assert any(word in message for word in text.split())


def test_options_are_those_of_the_file_system() -> None:
    assert parse_mkfs_options("-m reflink=0", ("xfs",)) == ("-m", "reflink=0")
    assert "'reflink=0' is not allowed as the value of -m for ext4" in refusal("-m reflink=0", "ext4")
    assert "for xfs" in refusal("-m 0", "ext4", "xfs")


def test_a_raw_volume_takes_what_some_file_system_would() -> None:
    assert parse_mkfs_options("-m reflink=0") == ("-m", "reflink=0")
    assert parse_mkfs_options("-m 0.5 -i 64k") == ("-m", "0.5", "-i", "64k")
    assert "-qF" in refusal("-qF")


def test_a_file_system_that_is_not_made_is_named() -> None:
    assert "'ntfs'" in refusal("-m 0", "ntfs")


def test_nothing_is_nothing() -> None:
    assert parse_mkfs_options(" \n", FILE_SYSTEMS) == ()


def test_the_number_of_options_is_limited() -> None:
    pairs = MAX_MKFS_OPTIONS // 2
    assert len(parse_mkfs_options("-m 0 " * pairs)) == MAX_MKFS_OPTIONS
    assert "34 words" in refusal("-m 0 " * (pairs + 1))
