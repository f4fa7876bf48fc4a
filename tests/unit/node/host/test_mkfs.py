"""Argument lists of the tools, and what an old kernel does not get."""

from pathlib import Path

import pytest

from node import mkfs
from node.model import MIB, FsRequest, FsType
from tests.support.fake_host import FakeHost

PATH = Path("/dev/vdb")
NEW = (6, 18)


def argv(fs_type: FsType, *options: str, kernel: mkfs.Version = NEW, tool: mkfs.Version = (6, 13)) -> tuple[str, ...]:
    return mkfs.mkfs_argv(fs_type, PATH, 512 * MIB, options, kernel=kernel, tool=tool)


@pytest.mark.parametrize("fs_type", list(FsType))
def test_no_file_system_discards_or_reaches_beyond_its_size(fs_type: FsType) -> None:
    words = argv(fs_type)
    assert "-K" in words or any("nodiscard" in word for word in words)
    assert any(str(512 * MIB) in word or f"{512 * 1024}k" == word for word in words)


def test_a_new_kernel_gets_the_tools_defaults() -> None:
    assert "0" not in "".join(word for word in argv(FsType.XFS) if "=0" in word)
    assert not mkfs.depends_on_kernel(FsType.XFS, (6, 10))


def test_an_old_kernel_gets_no_feature_that_it_cannot_mount() -> None:
    words = " ".join(argv(FsType.XFS, kernel=(5, 4)))
    assert "-m bigtime=0 -m inobtcount=0 -i nrext64=0" in words
    assert "-O ^block-group-tree" in " ".join(argv(FsType.BTRFS, kernel=(5, 15)))


def test_an_old_tool_is_not_told_of_features_that_it_does_not_know() -> None:
    words = " ".join(argv(FsType.XFS, kernel=(5, 4), tool=(5, 12)))
    assert "bigtime=0" in words
    assert "nrext64" not in words


def test_feature_and_extended_lists_of_mke2fs_are_joined_because_only_the_last_counts() -> None:
    words = argv(FsType.EXT4, "-E", "stride=16", "-O", "bigalloc", "-O", "quota", "-i", "8192")
    assert [words[index + 1] for index, word in enumerate(words) if word == "-O"] == ["bigalloc,quota"]
    (extended,) = [words[index + 1] for index, word in enumerate(words) if word == "-E"]
    assert extended.startswith("nodiscard")
    assert extended.endswith("stride=16")
    assert words[-5:-3] == ("-i", "8192")


@pytest.mark.parametrize(
    ("fs_type", "options", "lazy"),
    [
        (FsType.EXT4, (), "lazy_journal_init=1"),
        (FsType.EXT4, ("-O", "^metadata_csum"), "lazy_journal_init=0"),
        (FsType.EXT3, (), "lazy_journal_init=0"),
    ],
)
def test_the_journal_is_only_left_unzeroed_where_checksums_tell_old_blocks(
    fs_type: FsType, options: tuple[str, ...], lazy: str
) -> None:
    assert lazy in " ".join(argv(fs_type, *options))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("mkfs.xfs version 6.1.0", (6, 1)),
        ("mkfs.btrfs, part of btrfs-progs v6.2", (6, 2)),
        ("mke2fs 1.47.0 (5-Feb-2023)", (1, 47)),
        ("nonsense", (0, 0)),
    ],
)
def test_versions_are_read_from_the_tools_own_words(text: str, version: mkfs.Version) -> None:
    assert mkfs.parse_version(text) == version


async def test_on_an_old_kernel_the_tool_is_asked_for_its_version_once(tmp_path: Path) -> None:
    host = FakeHost(tmp_path, release=(5, 4))
    file_systems = host.filesystems()
    for serial in ("s1", "s2"):
        host.plug(serial)
        device = await host.devices().find(serial, deadline=host.soon())
        await file_systems.ensure(device, FsRequest(serial, "xfs"), deadline=host.soon())
    commands = host.commands("mkfs.xfs")
    assert commands[0] == "mkfs.xfs -V"
    assert len(commands) == 3
    assert all("bigtime=0" in command for command in commands[1:])


@pytest.mark.parametrize("fs_type", [FsType.XFS, FsType.BTRFS])
def test_growing_unmounted_has_no_command(fs_type: FsType) -> None:
    with pytest.raises(ValueError, match="mounted"):
        mkfs.grow_argv(fs_type, PATH, None)


@pytest.mark.parametrize("fs_type", list(FsType))
def test_every_file_system_names_its_program_and_package(fs_type: FsType) -> None:
    assert mkfs.program(fs_type) == f"mkfs.{fs_type.value}"
    assert mkfs.package(fs_type)
